"""A KV cache with a slot for each request, so that requests of different lengths can share one forward pass.

The idea: a batch is a matrix, requests are not of one length. Give every request a row (a slot) of memory set aside in
advance, remember how much of each row is in use, and mask the rest: position s of row b may be looked at by the token
at position p exactly when s <= p. Rows in use are kept together at the front, so that a batch is a slice, not a copy.

Source: selective batching in "Orca" (Yu et al., 2022). Left out: pages (PagedAttention, Kwon et al., 2023). A slot
reserves memory for the longest text it may ever hold, 2 · layers · H_kv · D numbers for each position; pages reserve
it as it is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml.week04_transformers.decoder import Decoder


class SlotCache:
    """Keys and values of ``slots`` requests with up to ``context`` positions each.

    Same contract as week 4's ``KVCache`` (``append`` and ``length``) for the rows that ``use`` picked.
    """

    def __init__(self, model: Decoder, slots: int, context: int) -> None:
        config = model.config
        if slots < 1 or not 1 <= context <= config.context:
            raise ValueError(f"slots must be at least 1 and context from 1 to {config.context}.")
        shape = (slots, config.kv_heads or config.heads, context, config.width // config.heads)
        dtype = model.embedding.weight.dtype
        # Zeros and not empty memory: a masked position has weight 0, and 0 times NaN would still be NaN.
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in range(config.layers)]  # (slots, H_kv, context, D) each
        self.values = [torch.zeros(shape, dtype=dtype) for _ in range(config.layers)]  # (slots, H_kv, context, D) each
        self.lengths = torch.zeros(slots, dtype=torch.long)  # (slots,)
        self.context = context
        self.use(0, slots, 1)

    def use(self, start: int, stop: int, new: int) -> tuple[Tensor, Tensor]:
        """Make the next forward pass add ``new`` positions to each of the rows ``start`` to ``stop``.

        Returns what the decoder needs for it: positions (B, T) and mask (B, T, S), True = may look.
        """
        lengths = self.lengths[start:stop]  # (B,)
        self.rows = torch.arange(start, stop)  # (B,)
        self.positions = lengths[:, None] + torch.arange(new)  # (B, T)
        self.length = int(lengths.max()) + new  # S: the longest row decides how far all of them are read
        if self.length > self.context:
            raise ValueError(f"A slot holds {self.context} positions; {self.length} were asked for.")
        mask = torch.arange(self.length) <= self.positions[:, :, None]  # (B, T, S): s <= p
        return self.positions, mask

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, H_kv, T, D) where each row ends; return the rows' keys and values (B, H_kv, S, D)."""
        where = self.rows[:, None]  # (B, 1), with positions (B, T): one place for every new token
        self.keys[layer][where, :, self.positions] = key.transpose(1, 2)  # (B, T, H_kv, D)
        self.values[layer][where, :, self.positions] = value.transpose(1, 2)  # (B, T, H_kv, D)
        used = slice(int(self.rows[0]), int(self.rows[-1]) + 1)
        return self.keys[layer][used, :, : self.length], self.values[layer][used, :, : self.length]  # (B, H_kv, S, D)

    def move(self, source: int, target: int) -> None:
        """Copy one request's row over another's: a finished request in the middle is replaced by the last one."""
        length = int(self.lengths[source])
        for cache in (*self.keys, *self.values):
            cache[target, :, :length] = cache[source, :, :length]  # (H_kv, length, D)
        self.lengths[target] = length


def prefill(model: Decoder, cache: SlotCache, start: int, prompts: list[list[int]]) -> Tensor:
    """Read ``prompts`` into the slots from ``start`` on, in one pass; returns each last token's logits (B, V).

    Short prompts are filled up on the right. That is harmless: the causal mask keeps real tokens from looking at what
    comes after them, and the next real token is written over the filling.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])  # (B,)
    stop = start + len(prompts)
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)  # (B, T)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    cache.lengths[start:stop] = 0
    hidden = model.hidden(ids, cache, *cache.use(start, stop, ids.shape[1]))  # (B, T, C)
    cache.lengths[start:stop] = lengths
    return model.head(hidden[torch.arange(len(prompts)), lengths - 1])  # (B, V)


def decode(model: Decoder, cache: SlotCache, tokens: list[int]) -> Tensor:
    """One step for the first ``len(tokens)`` slots, each with its newest token; returns logits (B, V)."""
    count = len(tokens)
    ids = torch.tensor(tokens)[:, None]  # (B, 1)
    hidden = model.hidden(ids, cache, *cache.use(0, count, 1))  # (B, 1, C)
    cache.lengths[:count] += 1
    return model.head(hidden[:, -1])  # (B, V)
