"""GRPO: PPO without a value function. The other answers to the same question are the yardstick.

Idea. A value function costs a second network, and all it does is say what to expect from a prompt. Draw G responses to
one prompt instead: their mean reward *is* what to expect. A response's advantage is its reward, standardised in its
group, the same for all of its tokens. The clipped ratio stays; the KL price moves out of the reward into the loss, with
the estimator that is never negative (``kl.k3``).

What it gives up: no credit per token, and a group whose responses all score alike teaches nothing.

Source: Shao et al., "DeepSeekMath" (2024), equation 3. Left out: the later corrections (Dr. GRPO drops the division by
the standard deviation and by the response's length, DAPO averages over tokens). Shapes: Q prompts, G responses to each,
B = Q · G, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.week07_alignment.exact import Reward
from ml.week07_alignment.kl import k1, k3
from ml.week07_alignment.policy import sample, token_log_probs
from ml.week07_alignment.toy import LETTERS, response_mask


@dataclass(frozen=True)
class GRPOSettings:
    prompts: int = 16
    group: int = 8
    epochs: int = 2
    clip: float = 0.2
    learning_rate: float = 1e-3


def group_advantages(rewards: Tensor, group: int) -> Tensor:
    """(r - mean of its group) / (standard deviation of its group); rows of a group are adjacent; (B,) -> (B,)."""
    if group < 2 or len(rewards) % group:
        raise ValueError(f"{len(rewards)} rewards do not make groups of {group}; a group needs at least 2.")
    grouped = rewards.view(-1, group)  # (Q, G)
    centred = grouped - grouped.mean(1, keepdim=True)  # (Q, G)
    return (centred / (grouped.std(1, keepdim=True) + 1e-4)).view(-1)  # (B,)


def grpo_loss(
    new: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor, clip: float, beta: float
) -> Tensor:
    """mean over responses of mean over tokens of -min(rho A, clip(rho) A) + beta k3(pi, ref).

    Log-probabilities and mask (B, T), advantages (B,) -> ().
    """
    ratio = torch.exp(new - old)  # (B, T)
    a = advantages[:, None]  # (B, 1) every token of a response gets the same
    gain = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)  # (B, T)
    loss = -gain + beta * k3(new, reference)  # (B, T)
    return ((loss * mask).sum(1) / mask.sum(1)).mean()


def grpo(
    policy: nn.Module,
    reference: nn.Module,
    reward: Reward,
    beta: float,
    iterations: int,
    generator: torch.Generator,
    settings: GRPOSettings | None = None,
) -> Iterator[dict[str, float]]:
    """Train ``policy`` in place; yields what each iteration measured on its own samples."""
    s = settings or GRPOSettings()
    optimiser = torch.optim.Adam(policy.parameters(), lr=s.learning_rate)
    for _ in range(iterations):
        with torch.no_grad():
            prompts = torch.randint(len(LETTERS), (s.prompts,), generator=generator)  # (Q,)
            prompts = prompts.repeat_interleave(s.group)  # (B,)
            responses = sample(policy, prompts, generator)  # (B, T)
            mask = response_mask(responses)  # (B, T)
            old = token_log_probs(policy, prompts, responses)  # (B, T)
            ref = token_log_probs(reference, prompts, responses)  # (B, T)
            rewards = reward(prompts, responses)  # (B,)
            advantages = group_advantages(rewards, s.group)  # (B,)
        for _ in range(s.epochs):
            new = token_log_probs(policy, prompts, responses)  # (B, T)
            loss = grpo_loss(new, old, ref, advantages, mask, s.clip, beta)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield {"reward": rewards.mean().item(), "kl": k1(old, ref).sum(1).mean().item()}
