"""One pass through a Llama for rows of different lengths at once: written for the engine, over transformers' weights.

The tokens of all rows lie in one flat list, so that every linear layer is one product, whatever rows wait for: the next
token of a running row, or a stretch of a new one's prompt. Only attention knows of rows. The weights are those of the
model that is handed in: fused ones (query, key and value; gate and up) replace its own, which become views of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from assistant.errors import SettingsError
from workers.serving.cache import Slots

FAMILIES = ("llama", "mistral", "qwen2")
WASTE = 512  # positions read in vain in a layer that cost as much as a product of its own
GPU_WASTE = 2**18  # on a GPU, which reads faster than it is told to
HEAD = -1  # the layer number of the output head, for adapters
PARTS = {  # a fused product, and the modules of transformers whose weights it holds, in order
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


class Linear(Protocol):
    """A product with fixed weights: (N, I) to (N, O)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    @property
    def bytes(self) -> int: ...


@runtime_checkable
class Table(Protocol):
    """A product whose weights are stored so small that the table of embeddings is read from them, too."""

    def row(self, ids: Tensor) -> Tensor:
        """Ids (N,) to vectors (N, H)."""
        ...


class Deltas(Protocol):
    """What adapters add to the products of a pass."""

    def add(self, y: Tensor, x: Tensor, layer: int, kind: str) -> Tensor:
        """``y`` (N, O) plus the adapters' part for ``x`` (N, I)."""
        ...


class Dense:
    """Weights as they are."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    @property
    def bytes(self) -> int:
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)


MakeLinear = Callable[[Tensor, Tensor | None], Linear]


@dataclass(slots=True)
class Layer:
    before_attention: Tensor  # (H,)
    before_mlp: Tensor  # (H,)
    products: dict[str, Linear]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens ``begin`` to ``end`` of a pass are one row's, at positions from ``start`` on in ``slot``."""

    begin: int
    end: int
    slot: int
    start: int


@dataclass(frozen=True, slots=True)
class Pass:
    """N tokens: first one each of the rows in ``singles`` (their slots), then those of ``chunks``."""

    ids: Tensor  # (N,)
    positions: Tensor  # (N,)
    slots: Tensor  # (N,)
    singles: tuple[int, ...]
    single_lengths: tuple[int, ...]  # positions to look at, the token's own included
    chunks: tuple[Chunk, ...]
    wanted: Tensor  # (R,) the tokens whose logits are wanted, in the order of the rows that were given
    order: tuple[int, ...]  # the number of the row of each token
    mask: Tensor | None = None  # (S, 1, 1, L) of singles in the order of their slots, where it is made before

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, Sequence[int]]], wanted: Sequence[bool], device: torch.device) -> Pass:
        """``rows``: (slot, start, ids); ``wanted``: whose next token is asked for."""
        waste = GPU_WASTE if device.type == "cuda" else WASTE
        together = _together([start + 1 if len(tokens) == 1 else 0 for _, start, tokens in rows], waste)
        flat: list[tuple[int, int, int, int]] = []  # id, position, slot, row
        last: dict[int, int] = {}
        chunks: list[Chunk] = []
        for number in [*together, *(n for n in range(len(rows)) if n not in set(together))]:
            slot, start, tokens = rows[number]
            if len(flat) >= len(together):
                chunks.append(Chunk(len(flat), len(flat) + len(tokens), slot, start))
            flat += [(token, start + place, slot, number) for place, token in enumerate(tokens)]
            last[number] = len(flat) - 1
        ids, positions, slots, order = zip(*flat, strict=True)
        table = torch.tensor([ids, positions, slots], device=device)
        asked = [last[number] for number, is_wanted in enumerate(wanted) if is_wanted]
        singles = [(rows[number][0], rows[number][1] + 1) for number in together]
        return cls(
            table[0],
            table[1],
            table[2],
            tuple(slot for slot, _ in singles),
            tuple(length for _, length in singles),
            tuple(chunks),
            torch.tensor(asked, dtype=torch.long, device=device),
            order,
        )


def _together(lengths: Sequence[int], waste: int) -> list[int]:
    """The rows of one token (``lengths`` above 0) whose attention is one product, as wide as the longest of them. One
    that would make it much wider for all the others goes apart."""
    rows = sorted((number for number, length in enumerate(lengths) if length), key=lambda number: lengths[number])
    while len(rows) > 1 and (len(rows) - 1) * (lengths[rows[-1]] - lengths[rows[-2]]) > waste:
        rows.pop()
    return sorted(rows)


class Llama:
    """A Llama (or Mistral, Qwen2) ready to serve: products, norms, and tables of rotations."""

    def __init__(self, model: Any, context: int, make: MakeLinear = Dense, make_head: MakeLinear | None = None) -> None:
        """``model``: a causal language model of transformers. ``make`` turns a fused weight (O, I) and its bias into a
        product (quantised or not), ``make_head`` the output head's. Raises SettingsError for a family that this pass
        does not know."""
        config = model.config
        if config.model_type not in FAMILIES or getattr(config, "use_sliding_window", False):
            raise SettingsError(f"ALMANAC_BASE_MODEL is wrong: a {config.model_type} model cannot be served here.")
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.size: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        self.vocabulary: int = config.vocab_size
        self.table: Tensor = model.model.embed_tokens.weight.detach()
        self.device, self.dtype = self.table.device, self.table.dtype
        self.context = min(context, config.max_position_embeddings)
        first = model.model.layers[0]
        self.shapes = {  # of the parts of each product, (O, I)
            kind: [tuple(first.get_submodule(name).weight.shape) for name in names] for kind, names in PARTS.items()
        } | {"lm_head": [tuple(model.lm_head.weight.shape)]}
        self.layers = [self._layer(layer, make) for layer in model.model.layers]
        self.norm: Tensor = model.model.norm.weight.detach()
        self.head = (make_head or make)(model.lm_head.weight.detach(), None)
        self.tied = model.lm_head.weight.data_ptr() == self.table.data_ptr()
        positions = torch.arange(self.context, device=self.device)[None]
        with torch.inference_mode():
            cos, sin = model.model.rotary_emb(self.table[:1], positions)  # (1, L, D) each
        self.cos, self.sin = cos[0, :, None], sin[0, :, None]  # (L, 1, D)
        if self.tied and isinstance(self.head, Table):
            self.table = self.table[:0]  # the head's codes are read instead

    def _layer(self, layer: Any, make: MakeLinear) -> Layer:
        products = {}
        for kind, names in PARTS.items():
            parts = [layer.get_submodule(name) for name in names]
            weight = torch.cat([part.weight.detach() for part in parts]) if len(parts) > 1 else parts[0].weight.detach()
            bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
            product = products[kind] = make(weight, bias)
            if isinstance(product, Dense) and len(parts) > 1:  # one copy in memory, and transformers' model still works
                bounds = list(accumulate(len(part.weight) for part in parts[:-1]))
                for part, view in zip(parts, weight.tensor_split(bounds), strict=True):
                    part.weight.data = view
        return Layer(layer.input_layernorm.weight.detach(), layer.post_attention_layernorm.weight.detach(), products)

    @property
    def bytes(self) -> int:
        """Held in memory. A head in a kernel's own layout is kept beside the table that it was made of."""
        shared = isinstance(self.head, Dense) and self.tied
        table = 0 if shared else self.table.nbytes
        norms = sum(layer.before_attention.nbytes + layer.before_mlp.nbytes for layer in self.layers) + self.norm.nbytes
        return table + norms + self.head.bytes + sum(p.bytes for layer in self.layers for p in layer.products.values())

    def has_head(self, weight: Tensor) -> bool:
        """Whether ``weight`` (V, H) is the output head's; False where that was quantised."""
        known = self.head.weight if isinstance(self.head, Dense) else self.table if self.tied else None
        return known is not None and len(known) > 0 and torch.equal(known, weight.to(known))

    @torch.inference_mode()
    def forward(self, batch: Pass, cache: Slots, deltas: Deltas | None = None) -> Tensor:
        """Logits (R, V) in float32 of the tokens that are wanted; writes keys and values of all tokens to the cache."""
        table = self.head if len(self.table) == 0 and isinstance(self.head, Table) else None
        x = F.embedding(batch.ids, self.table) if table is None else table.row(batch.ids).to(self.dtype)  # (N, H)
        cos, sin = self.cos[batch.positions], self.sin[batch.positions]  # (N, 1, D)
        attention = Attention(self, batch, cache)
        for number, layer in enumerate(self.layers):
            h = self._norm(x, layer.before_attention)
            qkv = _product(layer, "qkv", h, number, deltas).view(len(x), -1, self.size)  # (N, heads + 2 kv, D)
            turned, v = qkv[:, : self.heads + self.kv_heads], qkv[:, self.heads + self.kv_heads :]
            turned = turned * cos + _half_turn(turned) * sin
            q, k = turned[:, : self.heads], turned[:, self.heads :]
            x = x + _product(layer, "out", attention(number, q, k, v), number, deltas)
            gate, up = _product(layer, "gate_up", self._norm(x, layer.before_mlp), number, deltas).chunk(2, dim=-1)
            x = x + _product(layer, "down", F.silu(gate) * up, number, deltas)
        last = self._norm(x[batch.wanted], self.norm)  # (R, H)
        logits = self.head(last)
        if deltas is not None:
            logits = deltas.add(logits, last, HEAD, "lm_head")
        return logits.float()

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        if x.is_cuda:  # one kernel instead of seven
            return F.rms_norm(x, weight.shape, weight, self.eps)
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Attention:
    """Attention of one pass: masks are made once and serve every layer."""

    def __init__(self, model: Llama, batch: Pass, cache: Slots) -> None:
        self.kv, self.group, self.size = model.kv_heads, model.heads // model.kv_heads, model.size
        self.batch, self.cache, self.dtype = batch, cache, model.dtype
        self.single_mask: Tensor | None
        if batch.mask is not None:
            self.single_mask, self.in_order = batch.mask, True
        else:
            self.single_mask, self.in_order = self._masks_of_singles() if batch.singles else (None, True)
        self.masks = [self._mask(chunk) for chunk in batch.chunks]

    def _masks_of_singles(self) -> tuple[Tensor, bool]:
        """(S, 1, 1, L) for slots 0 to S - 1; free slots in between look at one position, and nobody at them."""
        batch, device = self.batch, self.batch.ids.device
        lengths = [1] * (max(batch.singles) + 1)
        for slot, length in zip(batch.singles, batch.single_lengths, strict=True):
            lengths[slot] = length
        seen = torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]
        return self._added(seen)[:, None, None], batch.singles == tuple(range(len(lengths)))

    def _mask(self, chunk: Chunk) -> Tensor:
        """(group · C, L): a token sees those before it, and itself."""
        end = chunk.start + chunk.end - chunk.begin
        here = torch.arange(chunk.start, end, device=self.batch.ids.device)
        seen = torch.arange(end, device=here.device) <= here[:, None]
        return self._added(seen).repeat(self.group, 1)

    def _added(self, seen: Tensor) -> Tensor:
        return torch.zeros(seen.shape, dtype=self.dtype, device=seen.device).masked_fill_(~seen, float("-inf"))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``q`` (N, heads, D), ``k`` and ``v`` (N, kv, D); returns (N, heads · D)."""
        batch, keys, values = self.batch, self.cache.keys[layer], self.cache.values[layer]  # (slots, kv, context, D)
        keys[batch.slots, :, batch.positions] = k
        values[batch.slots, :, batch.positions] = v
        parts = []
        q = q.reshape(len(q), self.kv, self.group, self.size)
        if self.single_mask is not None:
            parts.append(self._singles(q[: len(batch.singles)], keys, values))
        for chunk, mask in zip(batch.chunks, self.masks, strict=True):
            parts.append(self._chunk(q[chunk.begin : chunk.end], keys[chunk.slot], values[chunk.slot], mask))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _singles(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The heads that share keys stand as so many queries: nothing is repeated in memory."""
        mask = self.single_mask
        assert mask is not None
        rows, length = mask.shape[0], mask.shape[-1]
        count = len(q)
        if not self.in_order:
            q = q.new_zeros(rows, *q.shape[1:]).index_copy_(0, self.batch.slots[:count], q)
        out = F.scaled_dot_product_attention(q, keys[:rows, :, :length], values[:rows, :, :length], attn_mask=mask)
        return (out if self.in_order else out[self.batch.slots[:count]]).reshape(count, -1)

    def _chunk(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        count, length = len(q), mask.shape[-1]
        wide = q.permute(1, 2, 0, 3).reshape(1, self.kv, self.group * count, self.size)
        out = F.scaled_dot_product_attention(wide, keys[None, :, :length], values[None, :, :length], attn_mask=mask)
        return out.view(self.kv, self.group, count, self.size).permute(2, 0, 1, 3).reshape(count, -1)


def _product(layer: Layer, kind: str, x: Tensor, number: int, deltas: Deltas | None) -> Tensor:
    y = layer.products[kind](x)
    return y if deltas is None else deltas.add(y, x, number, kind)


def _half_turn(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((-right, left), dim=-1)
