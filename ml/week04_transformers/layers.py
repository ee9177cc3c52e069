"""The other two thirds of a transformer: norms that keep the numbers in range, and the feed-forward network.

Idea.    Layer norm gives each token's vector mean 0 and variance 1, then scales it; RMS norm only divides by its root
         mean square, which is cheaper and works as well. The feed-forward network then treats each token by itself:
         attention moves information between positions, this is where it is worked on. It holds most of the weights.
Source.  Ba et al., "Layer Normalization" (2016); Zhang & Sennrich, "RMSNorm" (2019); Hendrycks & Gimpel, "GELU" (2016);
         Shazeer, "GLU Variants Improve Transformer" (2020).
Left out. Dropout, and mixtures of experts, which put many feed-forward networks here and run a few of them per token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """g · (x - mean) / √(variance + ε) + b over the last dimension; the variance divides by C, not by C - 1."""

    def __init__(self, width: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))  # (C,)   g
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None  # (C,)   b

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        centred = x.float() - x.float().mean(dim=-1, keepdim=True)  # (..., C)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        normal = (centred * torch.rsqrt(variance + self.eps)).to(x.dtype)  # (..., C)
        return normal * self.weight if self.bias is None else normal * self.weight + self.bias  # (..., C)


class RMSNorm(nn.Module):
    """g · x / √(mean of x² + ε) over the last dimension."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))  # (C,)   g

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        square = x.float().square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (x.float() * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight  # (..., C)


def gelu(x: Tensor, exact: bool = False) -> Tensor:
    """x · Φ(x), Φ the normal distribution function: a ReLU with a soft corner. Any shape, kept.

    BERT computes Φ exactly; GPT-2 with the tanh formula below, from a time when erf was slow. They differ by up to
    0.0005, so a copied model must use the one it was trained with.
    """
    if exact:
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class GeluFeedForward(nn.Module):
    """down(gelu(up(x))): widen, bend, narrow; GPT-2's and BERT's. ``hidden`` is usually 4 · width."""

    def __init__(self, width: int, hidden: int, bias: bool = False, exact: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.exact = exact

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        return self.down(gelu(self.up(x), self.exact))  # (B, T, C), within (B, T, hidden)


class SwigluFeedForward(nn.Module):
    """down(silu(gate(x)) · up(x)): one branch says what, the other how much; Llama's.

    Three matrices instead of two, so ``hidden`` is usually 8/3 · width for the same number of weights.
    """

    def __init__(self, width: int, hidden: int, bias: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        gate = self.gate(x)  # (B, T, hidden)
        return self.down(gate * torch.sigmoid(gate) * self.up(x))  # (B, T, C)   silu(z) = z σ(z)
