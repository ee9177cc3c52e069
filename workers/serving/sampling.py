"""The next token of each row, from its logits and what its request asks for."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

NARROW = 256  # the nucleus is looked for among so many tokens before all are sorted


class Choice:
    """How one request chooses. Its random numbers are its own: a seed gives the same ones whatever else is running
    (the logits may still differ in their last bits from batch to batch, which bfloat16 shows more often)."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature, self.top_p = temperature, top_p
        self._random = random.Random(seed)  # noqa: S311 - not for secrets

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def draw(self, logits: Tensor) -> int:
        """``logits`` (V,). The tokens lie in order of their ids on the line that the number falls on, so that noise in
        the logits (sums in another order in another batch) moves the borders a little and never reorders them."""
        probabilities = torch.softmax(logits.double() / self.temperature, dim=-1)
        if self.top_p < 1:
            probabilities = nucleus(probabilities, self.top_p)
        line = probabilities.cumsum(-1)
        place = line.new_tensor(self._random.random()) * line[-1]
        token = int(torch.searchsorted(line, place, right=True))
        if token >= len(line) or probabilities[token] == 0:  # on a border, by rounding
            token = int(probabilities.argmax())
        return token


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """(V,) with zeros outside the smallest set of likeliest tokens whose probabilities reach ``top_p``."""
    count = min(NARROW, len(probabilities))
    values, places = probabilities.topk(count)
    if float(values.sum()) < top_p and count < len(probabilities):
        values, places = probabilities.sort(descending=True)
    before = values.cumsum(-1) - values  # what lies before a token; the first is always kept
    chosen = places[before < top_p]
    return torch.zeros_like(probabilities).index_copy_(0, chosen, probabilities[chosen])


@torch.inference_mode()
def choose(logits: Tensor, choices: Sequence[Choice]) -> list[int]:
    """One token for each row of ``logits`` (R, V)."""
    if all(choice.greedy for choice in choices):
        likeliest: list[int] = logits.argmax(-1).tolist()
        return likeliest
    likeliest = logits.argmax(-1).tolist()
    return [
        best if choice.greedy else choice.draw(row)
        for best, row, choice in zip(likeliest, logits, choices, strict=True)
    ]
