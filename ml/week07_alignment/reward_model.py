"""The reward model of RLHF: a decoder that ends in one number, trained on which of two responses was preferred.

Idea. ``preference.py`` with the features learned as well: the same loss, ``-log sigmoid(r_better - r_worse)``, but r is
a transformer with a scalar head. The head gives a number at *every* position, and that is just what PPO needs for its
value function: how good will the finished response be, judged from here? So both are this class. InstructGPT reads the
reward at the last token, the only position that has seen everything; ours is the sum over tokens. After 300 steps on
4,000 pairs the sum orders 64 to 67 % of fresh pairs rightly and the last token 62 to 65 % (three seeds; the judge is
noisy, so that the true reward itself reaches 69 %).

Sources: Stiennon et al., "Learning to summarize from human feedback" (2020); Ouyang et al., "InstructGPT" (2022).
Left out: margins, ensembles. Shapes: B, T as in policy.py; C width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.week04_transformers.decoder import Decoder
from ml.week07_alignment.policy import sample
from ml.week07_alignment.toy import LETTERS, gold, response_mask


class ScalarDecoder(nn.Module):
    """A decoder with a scalar head: a reward model (their sum) or a value function (every position)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder)  # start from what pretraining learned about text
        self.head = nn.Linear(decoder.config.width, 1)
        nn.init.zeros_(self.head.weight)  # no opinion at first: every reward and value starts at 0
        nn.init.zeros_(self.head.bias)

    def values(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """A number for the prompt and after every token: (B,), (B, T) -> (B, 1 + T)."""
        ids = torch.cat([prompts[:, None], responses], dim=1)  # (B, 1 + T)
        return self.head(self.decoder.hidden(ids)).squeeze(-1)  # (B, 1 + T, C) -> (B, 1 + T)

    def forward(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """The reward: the sum of the numbers at the tokens that were chosen; (B,), (B, T) -> (B,)."""
        per_token = self.values(prompts, responses)[:, 1:]  # (B, T)
        return (per_token * response_mask(responses)).sum(1)  # (B,)


Pairs = tuple[Tensor, Tensor, Tensor]  # prompts (N,), better (N, T), worse (N, T)


def bradley_terry_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-log P(better is preferred) = -log sigmoid(r_better - r_worse), averaged; (B,), (B,) -> ()."""
    return -functional.logsigmoid(better - worse).mean()


def judge(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """True where a noisy judge, P = sigmoid(r_first - r_second), prefers the first; (B,), (B,) -> (B,)."""
    return torch.rand(first.shape, generator=generator) < torch.sigmoid(first - second)


def preference_pairs(reference: nn.Module, count: int, generator: torch.Generator) -> Pairs:
    """Two responses of the reference to each prompt, ordered by a noisy judge: (N,), (N, T), (N, T)."""
    prompts = torch.randint(len(LETTERS), (count,), generator=generator)  # (N,)
    first, second = sample(reference, prompts, generator), sample(reference, prompts, generator)  # (N, T) each
    wins_first = judge(gold(prompts, first), gold(prompts, second), generator)[:, None]  # (N, 1)
    return prompts, torch.where(wins_first, first, second), torch.where(wins_first, second, first)


def train_reward_model(
    model: ScalarDecoder, prompts: Tensor, better: Tensor, worse: Tensor, steps: int, generator: torch.Generator
) -> Iterator[float]:
    """Fit on pairs (N,), (N, T), (N, T) in batches of 64; yields the loss of each step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(steps):
        pick = torch.randint(len(prompts), (64,), generator=generator)  # (B,)
        x = prompts[pick]  # (B,)
        loss = bradley_terry_loss(model(x, better[pick]), model(x, worse[pick]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()
