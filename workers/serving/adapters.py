"""LoRA adapters in peft's format, several of them in one pass.

An adapter adds ``B A x · scale`` to a product. For a pass the factors of all adapters in use lie side by side, and a
mask of the tokens keeps, of each token's middle values, those of its own adapter: two products for all rows, however
they are mixed. Parts of a fused product (query, key, value) lie side by side in the same way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.serving.llama import HEAD, PARTS, Llama
from workers.serving.requests import AdapterUnusable

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEY = re.compile(r"base_model\.model\.(?:model\.layers\.(\d+)\.(.+)|(lm_head))\.lora_([AB])(?:\.default)?\.weight")
HEAD_COPY = "base_model.model.lm_head.base_layer.weight"
# What changes more than the products of linear layers. Each is served only as its neutral value.
UNSERVED = {
    "bias": (None, "none"),
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []),
    "use_qalora": (None, False),
    "use_bdlora": (None, False),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "arrow_config": (None,),
}
NEUTRAL_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # others (PiSSA, LoftQ) change the base's weights
KINDS = {**{kind: len(parts) for kind, parts in PARTS.items()}, "lm_head": 1}
PLACES = {name: (kind, part) for kind, names in PARTS.items() for part, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Factors:
    down: Tensor  # (r, I)
    up: Tensor  # (O, r), times the scale


@dataclass(slots=True, eq=False)
class Adapter:
    """One adapter's factors by layer and kind, one entry per part of the fused product (None: not adapted)."""

    name: str
    rank: int  # the largest
    factors: dict[tuple[int, str], list[Factors | None]] = field(default_factory=dict)
    retired: bool = False  # unloaded or replaced: rows in flight still use it

    @property
    def bytes(self) -> int:
        return sum(f.down.nbytes + f.up.nbytes for parts in self.factors.values() for f in parts if f is not None)


def read(name: str, folder: Path, model: Llama) -> Adapter:
    """Raises AdapterUnusable with the reason: unreadable, made for another model, or of a kind not served here."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise AdapterUnusable(f"The adapter {name} cannot be read ({CONFIG}, {WEIGHTS}).") from error
    _check(name, config)
    pairs: dict[tuple[int, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key == HEAD_COPY and model.has_head(tensor):  # peft saves the base's beside a head that it adapts
            continue
        match = KEY.fullmatch(key)
        if match is None or not (match[3] or match[2] in PLACES):
            raise AdapterUnusable(f"The adapter {name} changes {key[:120]}, which is not served here.")
        place = (HEAD, "lm_head") if match[3] else (int(match[1]), match[2])
        pairs.setdefault(place, {})[match[4]] = tensor
    adapter = Adapter(name, max((pair["A"].shape[0] for pair in pairs.values() if "A" in pair), default=0))
    for (layer, module), pair in pairs.items():
        _place(adapter, layer, module, pair, config, model)
    if not adapter.factors:
        raise AdapterUnusable(f"The adapter {name} is empty.")
    return adapter


def _check(name: str, config: Any) -> None:
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterUnusable(f"The adapter {name} is not a LoRA adapter of peft.")
    for setting, neutral in UNSERVED.items():
        if config.get(setting) not in neutral:
            raise AdapterUnusable(f"The adapter {name} uses {setting}, which is not served here.")
    if config.get("init_lora_weights", True) not in NEUTRAL_STARTS:
        raise AdapterUnusable(f"The adapter {name} was started from changed weights, which is not served here.")


def _place(
    adapter: Adapter, layer: int, module: str, pair: Mapping[str, Tensor], config: Mapping[str, Any], model: Llama
) -> None:
    kind, part = PLACES.get(module, ("lm_head", 0))
    shapes = model.shapes.get(kind)
    fits = layer < len(model.layers) and shapes is not None and set(pair) == {"A", "B"}
    if not fits or shapes is None or (pair["B"].shape[0], pair["A"].shape[1]) != shapes[part]:
        raise AdapterUnusable(f"The adapter {adapter.name} was made for another model.")
    full = "lm_head" if layer == HEAD else f"model.layers.{layer}.{module}"
    rank = pair["A"].shape[0]
    alpha = _pattern(config.get("alpha_pattern"), full, config.get("lora_alpha", 8))
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    down = pair["A"].to(model.device, model.dtype)
    up = (pair["B"].to(model.device, torch.float32) * scale).to(model.dtype)
    adapter.factors.setdefault((layer, kind), [None] * KINDS[kind])[part] = Factors(down, up)


def _pattern(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """peft's rule: the first pattern that matches the end of the module's name from a full stop on."""
    return next((v for key, v in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)


class Side:
    """The factors of the adapters in use, side by side; made once per combination (``Sides``)."""

    def __init__(self, adapters: Sequence[Adapter], model: Llama) -> None:
        self.adapters = tuple(adapters)
        self.owners = torch.tensor([number for number, a in enumerate(adapters) for _ in range(a.rank)])
        self.owners = self.owners.to(model.device)
        places = sorted({place for adapter in adapters for place in adapter.factors})
        self.products = {place: self._beside(*place, model) for place in places}

    def _beside(self, layer: int, kind: str, model: Llama) -> tuple[Tensor, Tensor]:
        """(I, P · R) and (P · R, O) for P parts and R, the sum of the ranks; zeros where an adapter has no part."""
        shapes = model.shapes[kind]
        total = len(self.owners)
        down = torch.zeros(shapes[0][1], len(shapes) * total, dtype=model.dtype, device=model.device)
        up = torch.zeros(len(shapes) * total, sum(o for o, _ in shapes), dtype=model.dtype, device=model.device)
        begin = 0
        for adapter in self.adapters:
            column = 0
            for part, factors in enumerate(adapter.factors.get((layer, kind), [])):
                if factors is not None:
                    first = part * total + begin
                    rank = len(factors.down)
                    down[:, first : first + rank] = factors.down.T
                    up[first : first + rank, column : column + shapes[part][0]] = factors.up.T
                column += shapes[part][0]
            begin += adapter.rank
        return down, up


class Mixed:
    """The deltas of one pass."""

    def __init__(self, side: Side, rows: Sequence[Adapter | None], wanted: Tensor, dtype: torch.dtype) -> None:
        """``rows``: the adapter of each of the N tokens; ``wanted``: the tokens (R,) that reach the head."""
        numbers = {id(adapter): number for number, adapter in enumerate(side.adapters)}
        owner = torch.tensor([numbers.get(id(row), -1) for row in rows], device=side.owners.device)
        mask = (owner[:, None] == side.owners).to(dtype)  # (N, R)
        self._side = side
        self._masks = {parts: mask.repeat(1, parts) for parts in set(KINDS.values())}
        self._head_mask = mask[wanted]

    def add(self, y: Tensor, x: Tensor, layer: int, kind: str) -> Tensor:
        product = self._side.products.get((layer, kind))
        if product is None:
            return y
        down, up = product
        mask = self._head_mask if layer == HEAD else self._masks[KINDS[kind]]
        return torch.addmm(y, (x @ down).mul_(mask), up)


class Alone:
    """The deltas of passes in which every token has the same adapter."""

    def __init__(self, side: Side) -> None:
        self._products = side.products

    def add(self, y: Tensor, x: Tensor, layer: int, kind: str) -> Tensor:
        product = self._products.get((layer, kind))
        return y if product is None else torch.addmm(y, x @ product[0], product[1])


class Sides:
    """The combinations of adapters used last, so that a pass need not put them side by side again."""

    def __init__(self, model: Llama, keep: int = 4) -> None:
        self._model, self._keep = model, keep
        self._made: dict[tuple[int, ...], Side] = {}

    @torch.inference_mode()
    def deltas(self, rows: Sequence[Adapter | None], wanted: Tensor) -> Mixed | None:
        """For the adapter of each token; None where no token has one."""
        adapters = sorted({id(row): row for row in rows if row is not None}.values(), key=id)
        return Mixed(self._side(adapters), rows, wanted, self._model.dtype) if adapters else None

    @torch.inference_mode()
    def alone(self, adapter: Adapter) -> Alone:
        """For passes of this adapter only."""
        return Alone(self._side([adapter]))

    def _side(self, adapters: Sequence[Adapter]) -> Side:
        key = tuple(map(id, adapters))
        side = self._made.pop(key, None) or Side(adapters, self._model)
        self._made[key] = side  # the latest stands last
        while len(self._made) > self._keep:
            del self._made[next(iter(self._made))]
        return side

    def forget(self, adapter: Adapter) -> None:
        self._made = {key: side for key, side in self._made.items() if adapter not in side.adapters}
