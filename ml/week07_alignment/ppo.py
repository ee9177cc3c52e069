"""PPO: raise the probability of what went better than expected, but only so far with one batch.

Idea. The policy gradient is ``E[A_t · grad log pi(y_t)]``, A_t being how much better token t was than the value
function expected. Sampling is dear, so PPO takes several steps on one batch; the ratio ``pi / pi_old`` corrects for
having moved, and clipping it takes away any reason to move by more than a fifth. Three parts:

1. Rewards per token: the price of leaving the reference, ``-beta (log pi - log ref)``, at each token; the reward
   model's verdict at the last. beta follows a KL target (``kl.py``).
2. Generalised advantage estimation: an exponentially weighted sum of the value function's surprises, lambda between
   one step of look-ahead (0: low noise, biased by the value function) and the whole rest (1: unbiased, noisy).
3. The clipped losses of policy and value function, several epochs over the batch.

Sources: Schulman et al., "Proximal Policy Optimization Algorithms" (2017) and "High-Dimensional Continuous Control
Using Generalized Advantage Estimation" (2016); Ziegler et al. (2019) for the KL in the reward. Left out: entropy bonus,
minibatches, learning-rate schedule, a shared trunk for policy and value. Shapes: B responses, T tokens; mask is 1.0
where a token was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.week07_alignment.exact import Reward
from ml.week07_alignment.kl import AdaptiveKL, k1
from ml.week07_alignment.policy import sample, token_log_probs
from ml.week07_alignment.reward_model import ScalarDecoder
from ml.week07_alignment.toy import LETTERS, response_mask


@dataclass(frozen=True)
class PPOSettings:
    batch: int = 128
    epochs: int = 4
    clip: float = 0.2
    gamma: float = 1.0  # a response is short: no reason to value its end less
    lam: float = 0.95
    learning_rate: float = 1e-3
    whiten: bool = True


def token_rewards(verdict: Tensor, divergence: Tensor, mask: Tensor, beta: float) -> Tensor:
    """r_t = -beta (log pi_t - log ref_t), plus the verdict (B,) at each response's last token; -> (B, T)."""
    rewards = -beta * divergence * mask  # (B, T)
    last = mask.sum(1).long() - 1  # (B,)
    return rewards.scatter_add(1, last[:, None], verdict[:, None])  # (B, T)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages A_t = sum_l (gamma lam)^l delta_{t+l}, where delta_t = r_t + gamma V_{t+1} - V_t; all (B, T).

    Computed from the back, A_t = delta_t + gamma lam A_{t+1}. After the last token there is nothing: V = A = 0.
    """
    advantages = torch.zeros_like(rewards)  # (B, T)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])  # (B,)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]  # (B,)
        next_advantage = (delta + gamma * lam * next_advantage) * mask[:, t]  # (B,)
        next_value = values[:, t] * mask[:, t]  # (B,)
        advantages[:, t] = next_advantage
    return advantages


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the chosen tokens, so that one learning rate fits every scale of reward; (B, T)."""
    mean = (values * mask).sum() / mask.sum()
    variance = ((values - mean) ** 2 * mask).sum() / mask.sum()
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def policy_loss(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    """-mean_t min(rho A, clip(rho, 1 - e, 1 + e) A), where rho = pi_new / pi_old; all (B, T) -> ().

    The minimum makes it a pessimist: gains from moving past the clip do not count, losses do.
    """
    ratio = torch.exp(new - old)  # (B, T)
    clipped = ratio.clamp(1 - clip, 1 + clip)  # (B, T)
    return -(torch.min(ratio * advantages, clipped * advantages) * mask).sum() / mask.sum()


def value_loss(new: Tensor, old: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """mean_t max((V - R)², (V_clipped - R)²) / 2, V_clipped within ``clip`` of the old value; all (B, T) -> ()."""
    clipped = old + (new - old).clamp(-clip, clip)  # (B, T)
    return 0.5 * (torch.max((new - returns) ** 2, (clipped - returns) ** 2) * mask).sum() / mask.sum()


def ppo(
    policy: nn.Module,
    reference: nn.Module,
    value: ScalarDecoder,
    reward: Reward,
    controller: AdaptiveKL,
    iterations: int,
    generator: torch.Generator,
    settings: PPOSettings | None = None,
) -> Iterator[dict[str, float]]:
    """Train ``policy`` and ``value`` in place; yields what each iteration measured on its own samples."""
    s = settings or PPOSettings()
    optimiser = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=s.learning_rate)
    for _ in range(iterations):
        with torch.no_grad():
            prompts = torch.randint(len(LETTERS), (s.batch,), generator=generator)  # (B,)
            responses = sample(policy, prompts, generator)  # (B, T)
            mask = response_mask(responses)  # (B, T)
            old = token_log_probs(policy, prompts, responses)  # (B, T)
            divergence = k1(old, token_log_probs(reference, prompts, responses))  # (B, T)
            verdict = reward(prompts, responses)  # (B,)
            old_values = value.values(prompts, responses)[:, :-1]  # (B, T) V_t is judged before token t
            rewards = token_rewards(verdict, divergence, mask, controller.beta)  # (B, T)
            advantages = gae(rewards, old_values, mask, s.gamma, s.lam)  # (B, T)
            returns = advantages + old_values  # (B, T) what the value function should have said
            if s.whiten:
                advantages = whiten(advantages, mask)  # (B, T)
        for _ in range(s.epochs):
            new = token_log_probs(policy, prompts, responses)  # (B, T)
            new_values = value.values(prompts, responses)[:, :-1]  # (B, T)
            loss = policy_loss(new, old, advantages, mask, s.clip)
            loss = loss + value_loss(new_values, old_values, returns, mask, s.clip)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        measured = divergence.sum(1).mean().item()  # nats a response
        yield {"reward": verdict.mean().item(), "kl": measured, "beta": controller.beta}
        controller.update(measured)
