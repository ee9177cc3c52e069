"""A frozen 4-bit base under a float adapter: QLoRA.

The base of a LoRA is never updated, so it needs no precision for that; it only has to multiply. Stored in NF4 it
takes an eighth of float32, and the adapter on top, trained in float, also makes good what the quantisation broke.

In the backward pass the base gives no gradient for W (it is frozen), but one for x, and dL/dx = dL/dy W needs W
again. Plain autograd would keep the *dequantised* W of every layer until then, and the saving would be gone. So the
product is an autograd function of its own that keeps the packed form and dequantises a second time.

Source: Dettmers et al. (2023).
Left out: paged optimisers, and bfloat16 as the type to compute in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ml.week06_lora.inject import EVERYWHERE, inject
from ml.week06_lora.layer import LoraLinear
from ml.week06_lora.nf4 import Packed, dequantise, quantise


class _PackedProduct(torch.autograd.Function):
    """y = x Wᵀ with W in four bits; both passes dequantise for themselves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Packed) -> Tensor:
        ctx.packed = packed
        return x @ dequantise(packed).T  # (…, in) (in, out) -> (…, out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ dequantise(ctx.packed), None  # (…, out) (out, in) -> (…, in)   dL/dx = dL/dy W


class Linear4bit(nn.Module):
    """A linear layer whose weight is kept in NF4 and never trained; ``bias`` stays as it is."""

    def __init__(self, layer: nn.Linear, double: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        packed = quantise(layer.weight, double)
        self.shape = packed.shape
        for name in ("codes", "scales", "outer", "mean"):  # buffers move with the model and are saved with it
            self.register_buffer(name, getattr(packed, name))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone(), requires_grad=False)

    @property
    def packed(self) -> Packed:
        """The weight as it is kept."""
        return Packed(self.shape, self.codes, self.scales, self.outer, self.mean)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = _PackedProduct.apply(x, self.packed)  # (…, out)
        return y if self.bias is None else y + self.bias  # (…, out)

    def as_float(self) -> nn.Linear:
        """The layer with its weight dequantised, which an adapter can be merged into."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        with torch.no_grad():
            layer.weight.copy_(dequantise(self.packed))
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def inject_qlora(
    model: nn.Module, names: Collection[str] = EVERYWHERE, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0
) -> list[str]:
    """As ``inject``, with the base of each layer in four bits; embeddings, norms and the head keep their floats."""
    found = inject(model, names, rank, alpha, dropout)
    for name in found:
        layer = model.get_submodule(name)
        layer.base = Linear4bit(layer.base)
    return found


def dequantise_bases(model: nn.Module) -> None:
    """Give each adapter a float base again, so that it can be merged. The model then has its full size once more."""
    for layer in model.modules():
        if isinstance(layer, LoraLinear) and isinstance(layer.base, Linear4bit):
            layer.base = layer.base.as_float().requires_grad_(False)
