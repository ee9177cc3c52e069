"""Multi-head attention: several small attentions side by side, each with its own view, in one matrix product.

Idea.    Project the input to H narrow queries, keys and values, attend in each head by itself, and mix the results. In
         grouped-query attention several query heads share one pair of key and value heads, so the cache is smaller.
Source.  Vaswani et al. (2017), section 3.2.2; Ainslie et al., "GQA" (2023); Shazeer (2019) for one shared pair.
Left out. Dropout; the one fused projection for queries, keys and values that GPT-2 uses (the same numbers, one call).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml.week04_transformers.attention import attention
from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.positions import rotate


class MultiHeadAttention(nn.Module):
    """``heads`` query heads over ``kv_heads`` key and value heads (None: as many), all width / heads wide.

    ``layer`` is the place of this layer in the cache. Set ``watch`` to a list and every call appends its weights
    (B, H, T, S) to it: that is where the pictures of attention come from.
    """

    def __init__(self, width: int, heads: int, kv_heads: int | None = None, bias: bool = False, layer: int = 0) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        if width % heads or heads % kv_heads:
            raise ValueError(f"Width {width}, {heads} heads and {kv_heads} key heads do not divide each other.")
        self.heads, self.kv_heads, self.size, self.layer = heads, kv_heads, width // heads, layer
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, kv_heads * self.size, bias=bias)
        self.value = nn.Linear(width, kv_heads * self.size, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.watch: list[Tensor] | None = None

    def forward(
        self,
        x: Tensor,
        source: Tensor | None = None,
        mask: Tensor | None = None,
        angles: tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """``x`` (B, T, C) looks at ``source`` (B, S, C), or at itself where that is None; returns (B, T, C).

        ``mask`` is bool and broadcasts to (B, H, T, S). ``angles`` turn queries and keys (``positions.rotation``).
        With a ``cache``, x holds the new positions only, and S counts the cached ones too.
        """
        source = x if source is None else source
        query = self._split(self.query(x))  # (B, H, T, D)      Q = x Wq
        key = self._split(self.key(source))  # (B, H_kv, S, D)   K = source Wk
        value = self._split(self.value(source))  # (B, H_kv, S, D)   V = source Wv
        if angles is not None:
            query, key = rotate(query, *angles), rotate(key, *angles)  # same shapes
        if cache is not None:
            key, value = cache.append(self.layer, key, value)  # (B, H_kv, S, D), S = cached + new
        if self.kv_heads < self.heads:  # query heads 0 … g-1 share key head 0, the next g key head 1, …
            key = key.repeat_interleave(self.heads // self.kv_heads, dim=1)  # (B, H, S, D)
            value = value.repeat_interleave(self.heads // self.kv_heads, dim=1)  # (B, H, S, D)
        mixed, weights = attention(query, key, value, mask)  # (B, H, T, D), (B, H, T, S)
        if self.watch is not None:
            self.watch.append(weights.detach())
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, T, C)   [head₁ … head_H] Wo

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, heads · D) to (B, heads, S, D): the heads become a batch dimension, so one product serves them all."""
        return x.unflatten(-1, (-1, self.size)).transpose(1, 2)


@torch.no_grad()
def attention_maps(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Run ``model`` and return the weights (B, H, T, S) of each attention in it, in the order in which they ran."""
    watch: list[Tensor] = []
    modules = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
    for module in modules:
        module.watch = watch
    try:
        model(*inputs)
    finally:
        for module in modules:
            module.watch = None
    return watch
