"""DPO: preference learning without a reward model and without sampling.

Idea. The best policy under a KL price is ``pi* = ref · exp(r / beta) / Z``. Solve for the reward:
``r(x, y) = beta log(pi*(y|x) / ref(y|x)) + beta log Z(x)``. In Bradley-Terry only differences of rewards count, and
log Z(x) is the same for two responses to one prompt, so it cancels. What is left is a loss on the policy itself:
logistic regression whose "score" is how far the policy has moved from the reference in favour of a response.

    L = -log sigmoid(beta [(log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))])

The KL price is inside: beta decides how far the policy must move to be sure of a pair. Its weakness follows as well. It
only ever sees the pairs, and nothing holds the policy where they are silent.

Source: Rafailov et al., "Direct Preference Optimization" (2023). Left out: label smoothing, IPO and other relatives,
on-policy pairs. Shapes: N pairs, B of them in a batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.week07_alignment.policy import token_log_probs


def dpo_loss(better: Tensor, worse: Tensor, ref_better: Tensor, ref_worse: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta · (log-ratio of the better - log-ratio of the worse)), averaged over pairs.

    All four are log-probabilities of whole responses (sums over tokens), (B,) -> ().
    """
    margin = beta * ((better - ref_better) - (worse - ref_worse))  # (B,) difference of implied rewards
    return -functional.logsigmoid(margin).mean()


def dpo_gradient(better: Tensor, worse: Tensor, ref_better: Tensor, ref_worse: Tensor, beta: float) -> Tensor:
    """dL / d log pi(better), by hand: -beta sigmoid(-margin) / B; the worse one's is its negative. (B,) -> (B,).

    A pair that the policy already ranks well has a weight near 0; one it ranks wrongly pulls with up to beta.
    """
    margin = beta * ((better - ref_better) - (worse - ref_worse))  # (B,)
    return -beta * torch.sigmoid(-margin) / len(margin)  # (B,)


def dpo(
    policy: nn.Module,
    reference: nn.Module,
    pairs: tuple[Tensor, Tensor, Tensor],
    beta: float,
    steps: int,
    generator: torch.Generator,
    batch: int = 64,
    learning_rate: float = 5e-4,
) -> Iterator[dict[str, float]]:
    """Train ``policy`` in place on ``pairs``: prompts (N,), better (N, T), worse (N, T)."""
    prompts, better, worse = pairs
    with torch.no_grad():  # the reference never moves: once is enough
        ref_better = token_log_probs(reference, prompts, better).sum(1)  # (N,)
        ref_worse = token_log_probs(reference, prompts, worse).sum(1)  # (N,)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=learning_rate, weight_decay=0.0)
    for _ in range(steps):
        pick = torch.randint(len(prompts), (batch,), generator=generator)  # (B,)
        log_better = token_log_probs(policy, prompts[pick], better[pick]).sum(1)  # (B,)
        log_worse = token_log_probs(policy, prompts[pick], worse[pick]).sum(1)  # (B,)
        loss = dpo_loss(log_better, log_worse, ref_better[pick], ref_worse[pick], beta)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield {"loss": loss.item()}
