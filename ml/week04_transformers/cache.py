"""The KV cache: what generation remembers so that each new token costs one step and not a whole pass.

Idea.    With a causal mask, the keys and values of earlier positions never change when a token is added. Keep them, and
         compute queries, keys and values for the new position alone.
Source.  Pope et al., "Efficiently Scaling Transformer Inference" (2022), section 3; folklore before that.
Left out. Memory set aside in advance or in pages (vLLM, Kwon et al. 2023). ``torch.cat`` copies the cache at every
         step, which costs about what attention costs to read it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def cache_bytes(layers: int, kv_heads: int, head_width: int, tokens: int, texts: int = 1, number: int = 2) -> int:
    """Bytes that a cache takes: 2 · layers · B · H_kv · S · D · bytes of a number (2 in half precision)."""
    return 2 * layers * texts * kv_heads * tokens * head_width * number


class KVCache:
    """Keys and values of each layer, (B, H_kv, S, D), in the order in which the positions were seen."""

    def __init__(self, layers: int) -> None:
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers

    @property
    def length(self) -> int:
        """Positions that every layer holds: it grows when the last layer is done, so at the end of a forward pass."""
        last = self.keys[-1]
        return 0 if last is None else last.shape[2]

    @property
    def size(self) -> int:
        """Bytes held; ``cache_bytes`` is the formula."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values) if tensor is not None)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H_kv, T, D) of new positions to ``layer``; return all its keys and values (B, H_kv, S, D)."""
        old_key, old_value = self.keys[layer], self.values[layer]
        if old_key is not None and old_value is not None:
            key = torch.cat((old_key, key), dim=2)  # (B, H_kv, S, D)
            value = torch.cat((old_value, value), dim=2)  # (B, H_kv, S, D)
        self.keys[layer], self.values[layer] = key, value
        return key, value

    def truncate(self, length: int) -> None:
        """Forget all positions from ``length`` on, as speculative decoding does with tokens it rejects."""
        if not 0 <= length <= self.length:
            raise ValueError(f"The cache holds {self.length} positions: it cannot be cut to {length}.")
        self._map(lambda tensor: tensor[:, :, :length])  # (B, H_kv, length, D)

    def select(self, rows: Tensor) -> None:
        """Keep the batch rows ``rows`` (B',) in that order, repeats allowed: beam search forks and drops texts."""
        self._map(lambda tensor: tensor[rows])  # (B', H_kv, S, D)

    def _map(self, change: Callable[[Tensor], Tensor]) -> None:
        self.keys = [None if tensor is None else change(tensor) for tensor in self.keys]
        self.values = [None if tensor is None else change(tensor) for tensor in self.values]
