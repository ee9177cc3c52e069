"""Attention: every position looks at others and takes a weighted mean of what they hold.

Idea.    A query is compared with every key; the softmax of the comparisons says how much of each value to take.
Source.  Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1.
Left out. Dropout on the weights, and the fused kernels (FlashAttention, Dao et al. 2022) that never write the T × S
         table of weights to memory. We want to look at that table.

Letters in shape comments, here and in the other files: B texts in a batch, T positions that ask (queries), S positions
that are looked at (keys), C the model's width, H heads, D = C / H the width of one head, V the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention: softmax(Q Kᵀ / √D) V.

    ``query`` is (..., T, D), ``key`` (..., S, D), ``value`` (..., S, E); ``mask`` is bool, True where a query may look,
    and broadcasts to (..., T, S). Returns the result (..., T, E) and the weights (..., T, S), whose rows sum to 1.
    Raises ValueError when queries and keys have different widths or the mask is not bool.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"Queries are {query.shape[-1]} wide and keys {key.shape[-1]}: no dot product can be taken.")
    # A dot product of D independent terms of variance 1 has variance D. Divided by √D it has variance 1 again;
    # without that, the softmax of a wide head is nearly one-hot and passes no gradient.
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (..., T, S)   QKᵀ / √D
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"The mask must be bool (True = may look), not {mask.dtype}.")
        # The smallest finite number, not -inf: a row that may look nowhere (a padding token) would be 0/0 = NaN, and
        # 0 · NaN = NaN would then spread to every other row in the next layer.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)  # (..., T, S)
    # In float32 even when the model runs in bfloat16, whose 8 bits of precision lose small weights in the sum.
    weights = torch.softmax(scores.float(), dim=-1).to(value.dtype)  # (..., T, S)   aᵢⱼ = exp sᵢⱼ / Σⱼ exp sᵢⱼ
    return weights @ value, weights  # (..., T, E)   Σⱼ aᵢⱼ vⱼ


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(T, S) bool: the T queries are the last of S positions, and each sees itself and what came before.

    With ``queries == keys`` this is the lower triangle. With a cache there are more keys than queries: the query at
    row i stands at position S - T + i.
    """
    if queries > keys:
        raise ValueError(f"{queries} queries cannot be the last of {keys} positions.")
    position = torch.arange(keys - queries, keys, device=device)  # (T,)
    return position[:, None] >= torch.arange(keys, device=device)[None, :]  # (T, S)   i ≥ j


def padding_mask(lengths: Tensor, keys: int) -> Tensor:
    """(B, 1, S) bool from lengths (B,): nobody looks at what fills up a short text. Broadcasts over the queries."""
    return (torch.arange(keys, device=lengths.device)[None, :] < lengths[:, None])[:, None, :]  # (B, 1, S)
