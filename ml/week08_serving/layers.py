"""A linear layer that keeps its weights as integers, and a model with all its linear layers replaced by such.

The idea: the integers only save memory if the bytes really shrink. Codes of 8 bits are one byte each; two codes of 4
bits share a byte, low half first. The layer turns the codes into numbers again while it multiplies ("weight-only
quantisation"): the arithmetic stays float32, and what shrinks is the traffic from memory, which is what decoding waits
for (``roofline.py``). With one scale per output channel the scale moves out of the sum over the inputs k,

    y_o = sum_k x_k (s_o q_ok) = s_o sum_k x_k q_ok,

so that it costs one multiplication per output. With groups it must be applied before the sum, which is slower here.

Left out: a kernel that unpacks in registers (``torch_kernels.py`` calls torch's). The embedding, the head that shares
its matrix, and the norms stay in full precision, as in most published 4-bit models.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.lesson import LessonError
from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week08_serving.quantise import PER_CHANNEL, Quantised, quantise

LINEAR = ("query", "key", "value", "output", "gate", "up", "down")  # the decoder's names for what gets quantised
Method = Callable[[str, Tensor], Quantised]  # (name of the layer, its weight) -> codes


def pack(codes: Tensor) -> Tensor:
    """Two 4-bit codes in a byte: (O, I) integers in -8..7 or 0..15 to (O, I/2) uint8. Raises ValueError."""
    if codes.shape[-1] % 2:
        raise ValueError(f"4-bit codes are packed in pairs: {codes.shape[-1]} columns are odd.")
    low, high = codes[..., 0::2], codes[..., 1::2]  # (O, I/2) each
    return ((low & 15) | ((high & 15) << 4)).to(torch.uint8)  # (O, I/2): & 15 keeps the two's complement's low half


def unpack(packed: Tensor, signed: bool) -> Tensor:
    """The inverse of ``pack``: (O, I/2) uint8 to (O, I), int8 where ``signed``, else uint8."""
    codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)  # (O, I)
    if not signed:
        return codes
    return ((codes ^ 8).to(torch.int8)) - 8  # (O, I): flipping the sign bit and taking 8 off maps 0..15 to 0..7, -8..-1


class QuantLinear(nn.Module):
    """``nn.Linear`` over stored integers: (…, I) to (…, O)."""

    def __init__(self, quantised: Quantised, bias: Tensor | None = None) -> None:
        super().__init__()
        self.bits, self.signed = quantised.bits, quantised.zero is None
        codes = pack(quantised.codes) if self.bits <= 4 else quantised.codes
        self.register_buffer("codes", codes)  # (O, I) or (O, I/2)
        self.register_buffer("scale", quantised.scale)  # (R, G, 1)
        self.register_buffer("zero", None if self.signed else quantised.zero.to(torch.uint8))  # (R, G, 1) or None
        self.register_buffer("bias", bias)  # (O,) or None

    def quantised(self) -> Quantised:
        """The codes as they were before they were packed."""
        codes = unpack(self.codes, self.signed) if self.bits <= 4 else self.codes  # (O, I)
        return Quantised(codes, self.scale, None if self.signed else self.zero.float(), self.bits)

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O), in float32."""
        if self.signed and self.scale.shape[1] == 1:  # one scale per output or per tensor: outside the sum
            codes = unpack(self.codes, True) if self.bits <= 4 else self.codes  # (O, I)
            y = functional.linear(x, codes.to(x.dtype)) * self.scale.view(-1)  # (…, O)
            return y if self.bias is None else y + self.bias
        return functional.linear(x, self.quantised().dequantise().to(x.dtype), self.bias)  # (…, O)


def linear_names(model: nn.Module) -> list[str]:
    """The linear layers that get quantised, by their full names."""
    named = model.named_modules()
    return [name for name, layer in named if isinstance(layer, nn.Linear) and name.split(".")[-1] in LINEAR]


def replace(model: nn.Module, make: Callable[[str, nn.Linear], nn.Module]) -> nn.Module:
    """``model``, changed in place: every layer of ``linear_names`` replaced by ``make(name, layer)``."""
    for name in linear_names(model):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, make(name, model.get_submodule(name)))
    return model


def copy_of(model: Decoder) -> Decoder:
    """A second set of modules over the same tensors: layers replaced in one stay as they are in the other."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return deepcopy(model, shared).eval()  # deepcopy takes what its second argument holds for copied already


def quantise_model(model: Decoder, method: Method) -> Decoder:
    """A copy of ``model`` whose linear layers hold the codes that ``method`` gives them."""

    def make(name: str, layer: nn.Linear) -> nn.Module:
        bias = None if layer.bias is None else layer.bias.detach()  # (O,)
        return QuantLinear(method(name, layer.weight.detach()), bias)

    return replace(copy_of(model), make)


def nearest(bits: int, sharing: str | int = PER_CHANNEL, symmetric: bool = True) -> Method:
    """Round-to-nearest as a ``Method``."""
    return lambda _name, weight: quantise(weight, bits, sharing, symmetric)


def model_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers in memory, a shared matrix counted once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    # torch's own int8 layers keep their codes, a byte each, behind a method and out of ``parameters``.
    hidden = (layer.weight().numel() for layer in model.modules() if callable(getattr(layer, "weight", None)))
    return sum(tensor.nbytes for tensor in tensors.values()) + sum(hidden)


def save(model: Decoder, path: Path) -> int:
    """Write a (quantised) decoder with what is needed to read it again; returns the bytes on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {
        name: (layer.bits, layer.signed) for name, layer in model.named_modules() if isinstance(layer, QuantLinear)
    }
    torch.save({"config": asdict(model.config), "weights": model.state_dict(), "kinds": kinds}, path)
    return path.stat().st_size


def load(path: Path) -> Decoder:
    """Read what ``save`` wrote. Raises LessonError where the file is missing."""
    if not path.is_file():
        raise LessonError(f"There is no checkpoint at {path}: run the experiment, or give another one.")
    kept = torch.load(path, weights_only=True)  # weights_only: a checkpoint must not be able to run code
    model, weights = Decoder(DecoderConfig(**kept["config"])), kept["weights"]

    def make(name: str, _layer: nn.Linear) -> nn.Module:
        bits, signed = kept["kinds"][name]
        codes = weights[f"{name}.codes"]  # (O, I) or (O, I/2)
        codes = unpack(codes, signed) if bits <= 4 else codes  # (O, I)
        zero = weights.get(f"{name}.zero")  # (R, G, 1) or None
        return QuantLinear(Quantised(codes, weights[f"{name}.scale"], zero, bits), weights.get(f"{name}.bias"))

    if kept["kinds"]:
        replace(model, make)
    model.load_state_dict(weights)
    return model.eval()
