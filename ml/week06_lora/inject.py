"""Into a model by name, and out again as a file of a few megabytes.

``inject`` walks the model, replaces each linear layer whose name ends as asked, and freezes the rest. What is learnt is
then a handful of small tensors, and only those are saved: one base in memory can serve many tasks, each an adapter.

Source: Hu et al. (2021) adapt query and value; Dettmers et al. (2023) find that all linear layers are needed to match
full fine-tuning. The naming rule (a whole name, or an ending after a dot) is peft's.
Left out: pickle. An adapter is something one downloads, and loading a pickle runs code; safetensors holds numbers only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ml.week06_lora.layer import LoraLinear

ATTENTION = ("query", "value")  # where the paper puts it
EVERYWHERE = ("query", "key", "value", "output", "gate", "up", "down")  # every linear layer of a week-4 decoder


def inject(
    model: nn.Module, names: Collection[str] = EVERYWHERE, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0
) -> list[str]:
    """Put LoRA into each linear layer named, freeze everything else, return the full names of the layers.

    A layer is meant when its full name is in ``names`` or ends with a dot and one of them. Raises ValueError when a
    name meets no layer: silence would train nothing. Raises it too for a head tied to the embedding, since merging
    would change the embedding with it.
    """
    found = {name: layer for name, layer in model.named_modules() if _meant(name, names) and _is_linear(layer)}
    if missed := [wanted for wanted in names if not any(_meant(name, [wanted]) for name in found)]:
        raise ValueError(f"The model has no linear layer called {missed[0]!r}.")
    embeddings = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    if tied := [name for name, layer in found.items() if id(getattr(layer, "weight", None)) in embeddings]:
        raise ValueError(f"{tied[0]} shares its weight with the embedding and cannot be adapted alone.")
    model.requires_grad_(False)
    for name, layer in found.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, LoraLinear(layer, rank, alpha, dropout))
    return list(found)


def _meant(name: str, names: Collection[str]) -> bool:
    return any(name == wanted or name.endswith(f".{wanted}") for wanted in names)


def _is_linear(layer: nn.Module) -> bool:
    return hasattr(layer, "in_features")


def adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """The LoRA layers of a model with their names."""
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLinear))


def merge(model: nn.Module) -> None:
    """Merge all adapters: the model costs what it cost without them."""
    for _, layer in adapters(model):
        layer.merge()


def unmerge(model: nn.Module) -> None:
    """Take all adapters out of the weights again."""
    for _, layer in adapters(model):
        layer.unmerge()


def remove(model: nn.Module) -> None:
    """Put the base layers back, without the change where it is not merged and with it where it is."""
    for name, layer in list(adapters(model)):
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.base)


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """The learnt tensors alone: ``<layer>.a`` (r, in) and ``<layer>.b`` (out, r)."""
    return {f"{name}.{part}": getattr(layer, part).detach() for name, layer in adapters(model) for part in ("a", "b")}


def save_adapter(model: nn.Module, path: Path) -> int:
    """Write the adapter to a safetensors file; returns its bytes. Raises ValueError for a model without one."""
    layers = dict(adapters(model))
    if not layers:
        raise ValueError("The model has no adapter to save.")
    scales = json.dumps({name: layer.scale for name, layer in layers.items()})  # without α / r the numbers mean nothing
    save_file({name: tensor.contiguous() for name, tensor in adapter_weights(model).items()}, path, {"scales": scales})
    return path.stat().st_size


def load_adapter(model: nn.Module, path: Path) -> list[str]:
    """Inject what ``save_adapter`` wrote into a model without adapters; returns the names of the layers.

    Raises ValueError when the file was made for another model.
    """
    with safe_open(path, framework="pt") as file:
        scales = json.loads(file.metadata()["scales"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, has keys() only
    model.requires_grad_(False)
    for name, scale in scales.items():
        a, b = tensors[f"{name}.a"], tensors[f"{name}.b"]  # (r, in), (out, r)
        try:
            base = model.get_submodule(name)
            fits = (base.out_features, base.in_features) == (b.shape[0], a.shape[1])
        except AttributeError:
            fits = False
        if not fits:
            raise ValueError(f"The adapter's layer {name} {tuple(b.shape[:1] + a.shape[1:])} is not in this model.")
        parent, _, last = name.rpartition(".")
        layer = LoraLinear(base, rank=len(a), alpha=scale * len(a))
        with torch.no_grad():
            layer.a.copy_(a)
            layer.b.copy_(b)
        setattr(model.get_submodule(parent), last, layer)
    return list(scales)
