"""The forms that weights are served in: as they are, in int8 on the CPU, in 4 bits on a GPU.

On the CPU every form is laid out for its kernel once, at the start. Plain ``linear`` lays the weights out anew in each
call, which for a batch of eight costs more than the product itself.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from assistant.errors import SettingsError
from workers.serving.cache import Slots
from workers.serving.llama import Dense, Linear, Llama, Pass

LEVELS = 127


class Packed:
    """Weights in the layout of oneDNN's kernel, which is its own business; only their product is defined."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, rows: int = 8) -> None:
        self.bytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self._bias = bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y

    @staticmethod
    def fits(weight: Tensor) -> bool:
        if weight.device.type != "cpu" or not torch._C._has_mkldnn:
            return False
        if weight.dtype == torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return weight.dtype == torch.float32


class Int8:
    """Weights in 8 bits with a scale per output. An input is written as two numbers of 8 bits, the second for what the
    first leaves, and both are multiplied at once as integers.

    One number alone would do for most inputs, but a few channels are so large that the rest would share few levels:
    SmolLM2's perplexity rises by 3 to 5 % with one and by at most 0.5 % with two, on the two texts it was measured on.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        wide = weight.float()
        self._scale = (wide.abs().amax(dim=1) / LEVELS).clamp_min(1e-12)  # (O,)
        codes = (wide / self._scale[:, None]).round().to(torch.int8)
        self._codes = codes.T.contiguous()  # (I, O)
        self._bias = bias
        self.bytes = codes.nbytes + self._scale.nbytes + (0 if bias is None else bias.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        wide, count = x.float(), len(x)
        step = (wide.abs().amax(dim=-1, keepdim=True) / LEVELS).clamp_min(1e-12)  # (N, 1)
        exact = wide / step
        first = exact.round()
        second = exact.sub_(first).mul_(2 * LEVELS).round_()  # what is left is at most half a step
        sums = torch._int_mm(torch.cat((first, second)).to(torch.int8), self._codes).float()  # (2 N, O)
        y = sums[:count].add_(sums[count:], alpha=1 / (2 * LEVELS)).mul_(step).mul_(self._scale)
        return (y if self._bias is None else y + self._bias).to(x.dtype)

    def row(self, ids: Tensor) -> Tensor:
        """(N, I): rows of the weights, for a table of embeddings that shares them."""
        return self._codes[:, ids].T.float() * self._scale[ids, None]


def dense(weight: Tensor, bias: Tensor | None) -> Linear:
    return Packed(weight, bias) if Packed.fits(weight) else Dense(weight, bias)


class FourBit:
    """Weights in 4 bits (NF4, scales of 64 weights in 8 bits) by bitsandbytes, on a GPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        library = importlib.import_module("bitsandbytes")
        functional = importlib.import_module("bitsandbytes.functional")
        self._multiply: Any = library.matmul_4bit
        self._codes, self._state = functional.quantize_4bit(
            weight.contiguous(), quant_type="nf4", compress_statistics=True, blocksize=64
        )
        self._bias = bias
        self.bytes = self._codes.nbytes + weight.numel() // 64 + (0 if bias is None else bias.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self._multiply(x, self._codes.t(), self._state, bias=self._bias)
        return y


def prepare(model: Any, context: int, quantisation: str) -> Llama:
    """``model``'s weights in the form that was asked for: none, int8 or 4bit. Raises SettingsError where that form
    needs what is not there."""
    device = model.device.type
    if quantisation == "int8":
        if device != "cpu":
            raise SettingsError("int8 is for serving on a CPU; on a GPU serve in 4bit, or without quantisation.")
        return Llama(model, context, Int8)
    if quantisation == "4bit":
        if device != "cuda":
            raise SettingsError("4bit needs a GPU; on a CPU serve in int8, or without quantisation.")
        if importlib.util.find_spec("bitsandbytes") is None:
            raise SettingsError("4bit needs the package bitsandbytes: pip install bitsandbytes.")
        return Llama(model, context, FourBit, dense)  # the head stays as it is: the last rounding would cost most
    if quantisation != "none":
        raise SettingsError(f"There is no quantisation {quantisation}: none, int8 or 4bit.")
    return Llama(model, context, dense)


def natural_dtype() -> torch.dtype:
    """bfloat16 where this CPU (or the GPU) multiplies it itself, else float32."""
    if torch.cuda.is_available() or (torch._C._has_mkldnn and torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return torch.float32


def perplexity(model: Llama, ids: Sequence[int], window: int = 512) -> float:
    """Of text under the model, read in windows of ``window`` tokens that do not overlap."""
    slots = Slots(len(model.layers), 1, model.kv_heads, window, model.size, dtype=model.dtype, device=model.device)
    total, count = 0.0, 0
    for begin in range(0, len(ids) - 1, window):
        part = list(ids[begin : begin + window])
        if len(part) < 2:
            break
        batch = Pass.of([(0, 0, part)], [True], model.device)
        every = torch.arange(len(part) - 1, device=model.device)
        batch = dataclasses.replace(batch, wanted=every)
        logits = model.forward(batch, slots)
        total += float(F.cross_entropy(logits, torch.tensor(part[1:], device=model.device), reduction="sum"))
        count += len(part) - 1
    return math.exp(total / count)
