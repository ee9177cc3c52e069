"""Positions: attention alone sees a set, not a sequence; three ways to tell it the order.

Idea.    Sinusoidal (fixed waves added to the embeddings), learned (a table added to the embeddings: ``nn.Embedding``,
         nothing to write here) and rotary (queries and keys are turned by an angle that grows with the position, so
         that their dot product depends on the distance alone).
Source.  Sinusoidal: Vaswani et al. (2017), section 3.5. Learned: Gehring et al. (2017), used by GPT-2 and BERT.
         Rotary: Su et al., "RoFormer" (2021), equations 13 to 15 and 34; used by Llama and nearly all since.
Left out. ALiBi (Press et al. 2021), and the ways to stretch rotary beyond the trained length (YaRN, Llama 3 scaling).
"""

from __future__ import annotations

import torch
from torch import Tensor


def frequencies(width: int, base: float = 10000.0, device: torch.device | None = None) -> Tensor:
    """(width/2,) angles per position in radians, from 1 down to nearly 1/base: ωᵢ = base^(-2i/width)."""
    if width % 2:
        raise ValueError(f"Positions need an even width, not {width}: they work on pairs.")
    pair = torch.arange(0, width, 2, dtype=torch.float32, device=device)  # (width/2,)   2i
    return 1.0 / base ** (pair / width)  # (width/2,)   ωᵢ


def sinusoidal(positions: Tensor, width: int, base: float = 10000.0) -> Tensor:
    """Waves to add to the embeddings: (B, T) positions give (B, T, C), sine in even and cosine in odd places."""
    angle = positions[..., None].float() * frequencies(width, base, positions.device)  # (B, T, C/2)   p ωᵢ
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)  # (B, T, C)   sin, cos, sin, cos, …


def rotation(positions: Tensor, width: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines for ``rotate``: positions (B, T) give two tables (B, 1, T, D/2); the 1 is for the heads.

    Always float32: in bfloat16 the position 257 is not even a number of its own.
    """
    angle = positions[:, None, :, None].float() * frequencies(width, base, positions.device)  # (B, 1, T, D/2)   p ωᵢ
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of ``x`` (B, H, T, D) by its angle; the length of every pair, and so of x, is kept.

    Pair i is (xᵢ, xᵢ₊D/2), as in GPT-NeoX and Hugging Face's Llama. The paper and Meta's own code pair neighbours
    (x₂ᵢ, x₂ᵢ₊₁). Both are the same function up to an order of the head's D numbers, which the rows of the query and
    key matrices may have as they like: files made for one layout need their rows permuted for the other (GGUF does).
    """
    first, second = x.float().chunk(2, dim=-1)  # (B, H, T, D/2) each
    turned = (
        first * cos - second * sin,  # (B, H, T, D/2)   ⎡cos -sin⎤ ⎡first ⎤
        second * cos + first * sin,  # (B, H, T, D/2)   ⎣sin  cos⎦ ⎣second⎦
    )
    return torch.cat(turned, dim=-1).to(x.dtype)  # (B, H, T, D)
