"""Answers to the README's exercises."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from ml.week06_lora.examples import IGNORE, Batch
from ml.week06_lora.layer import LoraLinear
from ml.week06_lora.nf4 import BLOCK, dequantise, quantise


def first_gradients(start: Literal["b zero", "a zero", "both zero", "both random"]) -> tuple[float, float, float]:
    """Exercise 1: how far the output is from the base's at the start, and the norms of the first gradients of A and B.

    dL/dB = (α/r) dL/dy (A x)ᵀ needs A, dL/dA = (α/r) Bᵀ dL/dy xᵀ needs B.
    """
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(16, 16, bias=False), rank=4)
    with torch.no_grad():
        if start in ("a zero", "both zero"):
            layer.a.zero_()
        if start in ("a zero", "both random"):
            nn.init.normal_(layer.b, std=0.1)
    x = torch.randn(32, 16)  # (32, 16)
    y = layer(x)  # (32, 16)
    y.square().mean().backward()
    return (y - layer.base(x)).norm().item(), layer.a.grad.norm().item(), layer.b.grad.norm().item()


def rank_for(model: nn.Module, names: Collection[str], parameters: int) -> int:
    """Exercise 2: the largest rank whose adapters in ``names`` have at most ``parameters`` numbers, r (in + out) each.

    Raises ValueError when not even rank 1 fits.
    """
    layers = [layer for name, layer in model.named_modules() if name.split(".")[-1] in names]
    rank = parameters // sum(layer.in_features + layer.out_features for layer in layers)
    if rank < 1:
        raise ValueError(f"{parameters} numbers are too few for an adapter in {len(layers)} layers.")
    return rank


def masked_by_id(batch: Batch, pad: int) -> Tensor:
    """Exercise 3: the labels (B, T) as the careless way makes them, with every ``pad`` token masked."""
    return torch.where(batch.ids == pad, IGNORE, batch.labels)  # (B, T)


def outlier_damage(factor: float) -> float:
    """Exercise 4: mean |error| of a block's 63 normal weights when the 64th is ``factor`` standard deviations large."""
    weights = torch.randn(1000, BLOCK, generator=torch.Generator().manual_seed(0))  # (1000, 64)
    weights[:, 0] = factor
    errors = (dequantise(quantise(weights, double=False)) - weights).abs()  # (1000, 64)
    return errors[:, 1:].mean().item()
