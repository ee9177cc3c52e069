"""A linear layer that learns through a narrow door: LoRA.

Fine-tuning changes a matrix W (out, in) by some ΔW of the same size. The bet of LoRA is that the change a small task
needs has low rank, so it is *written* as a product of two thin matrices and W itself is never touched:

    y = W x + (α / r) B A x          A (r, in), B (out, r), r much smaller than in and out

B begins at zero, so that the first step starts from the pretrained model exactly; A begins random, since with both at
zero neither would ever get a gradient (each one's gradient is multiplied by the other). α / r keeps the size of the
change about the same when r is varied, so that one learning rate serves several ranks.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
Left out: embeddings and convolutions, several adapters in one layer, rsLoRA's α / √r, DoRA.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """``base`` (a linear layer, frozen here) plus a low-rank change of it.

    ``base`` needs ``in_features`` and ``out_features``; to be merged it needs a ``weight`` of floats (out, in).
    Raises ValueError for a rank outside 1 to min(in, out), or a dropout outside 0 to 1.
    """

    def __init__(self, base: nn.Module, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0) -> None:
        super().__init__()
        if not 1 <= rank <= min(base.in_features, base.out_features):
            raise ValueError(f"The rank of a ({base.out_features}, {base.in_features}) matrix cannot be {rank}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability below 1, not {dropout}.")
        self.base = base.requires_grad_(False)
        self.rank, self.scale = rank, alpha / rank  # α / r
        like = next(base.parameters(), None)
        place = {"device": like.device, "dtype": like.dtype} if like is not None else {}  # a 4-bit base has no floats
        self.a = nn.Parameter(torch.empty(rank, base.in_features, **place))  # (r, in)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank, **place))  # (out, r)
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))  # as nn.Linear begins, and as peft does
        self.dropout = nn.Dropout(dropout)
        self.merged = False

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base(x)  # (…, out)   W x
        if self.merged:
            return y
        # Right to left: A x is (…, r), so B A is never formed. Dropout hits the detour only: W x stays whole.
        return y + (self.dropout(x) @ self.a.T @ self.b.T) * self.scale  # (…, out)   + (α/r) B A x

    def delta(self) -> Tensor:
        """The change of the weight: (α/r) B A, (out, in)."""
        return (self.b @ self.a) * self.scale

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to W: from now on the layer costs what it cost before. Does nothing when merged already.

        Raises ValueError where the base keeps no floats: a 4-bit weight cannot take a change smaller than its steps.
        """
        if getattr(self.base, "weight", None) is None:
            raise ValueError("Only a base with a weight of floats can be merged; dequantise it first.")
        if not self.merged:
            self.base.weight += self.delta()  # (out, in)
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the change out again, up to rounding: (W + ΔW) - ΔW is W within a few units in the last place."""
        if self.merged:
            self.base.weight -= self.delta()  # (out, in)
            self.merged = False
