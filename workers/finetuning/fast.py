"""Layers with fewer passes over their activations: peft's LoRA, and norms on a GPU. The same functions.

LoRA is written as one step of autograd.

peft widens the input of a layer to the adapter's float32, multiplies there, adds in float32 and narrows the sum: on a
CPU, whose bfloat16 products are four times as fast as its float32 ones, that costs more than the frozen layer itself.
Here the adapter's weights stay float32 for the optimiser and are narrowed once a call; sums are made in place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")  # x / rms(x) times a weight, nothing else


class _Adapted(torch.autograd.Function):
    """x W' + scale (x A') B', with W frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """x (T, in), weight (out, in), a (r, in), b (out, r) -> (T, out)."""
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        inner = x @ down.T  # (T, r)
        result = nn.functional.linear(x, weight, bias)
        result.addmm_(inner, up.T)
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale = scale
        return result

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, weight, down, up, inner = ctx.saved_tensors
        (dresult,) = above
        dinner = dresult @ up  # (T, r)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dresult @ weight
            dx.addmm_(dinner, down)
        return dx, None, None, (dinner.T @ x).float(), (dresult.T @ inner).float() * ctx.scale, None


def speed_up(model: Any) -> int:
    """Let the LoRA layers of ``model`` that can compute as above do so, in place; returns how many do.

    Left as they are: layers with dropout, of another kind (DoRA, quantised, embeddings), or with several adapters.
    """
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _simple(module)]
    for layer in layers:
        layer.forward = _Forward(layer, layer.forward)  # type: ignore[method-assign]
    return len(layers)


def _simple(layer: Any) -> bool:
    base, names = layer.get_base_layer(), list(layer.lora_A)
    return (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and len(names) == 1
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and not layer.lora_variant
        and not layer.lora_bias[names[0]]
    )


def fuse_norms(model: Any) -> int:
    """Let Llama-like norms on a GPU be one kernel instead of eight, in place; returns how many."""
    norms = [module for module in model.modules() if type(module).__name__ in NORMS and module.weight.is_cuda]
    for norm in norms:
        norm.forward = _Norm(norm)
    return len(norms)


class _Norm:
    """It multiplies by the weight before it rounds, where transformers rounds twice."""

    def __init__(self, norm: Any) -> None:
        self._norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        weight = self._norm.weight
        return nn.functional.rms_norm(x, weight.shape, weight.to(x.dtype), self._norm.variance_epsilon)


class _Forward:
    def __init__(self, layer: Any, otherwise: Any) -> None:
        self._layer, self._otherwise = layer, otherwise
        (self._name,) = layer.lora_A

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, name = self._layer, self._name
        if layer.disable_adapters or layer.merged or list(layer.active_adapters) != [name] or args or kwargs:
            result: Tensor = self._otherwise(x, *args, **kwargs)
            return result
        base = layer.get_base_layer()
        a, b, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
        flat = x.reshape(-1, x.shape[-1])
        adapted: Tensor = _Adapted.apply(flat, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        return adapted.view(*x.shape[:-1], -1)
