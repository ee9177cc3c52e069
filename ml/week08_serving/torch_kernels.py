"""The ecosystem's side: the same codes through kernels that other people wrote.

``layers.py`` unpacks codes into float32 and multiplies. A kernel unpacks in registers, so that memory sees only the
codes. torch has such kernels for weights in 8 and 4 bits (they want bfloat16 inputs; float32 takes a slow path), and
``quantize_dynamic``, which also rounds the *inputs* to 8 bits row by row and multiplies integers (W8A8). bitsandbytes
needs a GPU: where there is none, ``bitsandbytes_linear`` says so.

The underscore in the names says that torch does not promise to keep them, and ``torch.ao.quantization`` is deprecated
for torchao. Everything here is therefore looked up when called, and what is missing is a ``LessonError`` that names
it.
"""

from __future__ import annotations

import importlib.util
import warnings

import torch
from torch import Tensor, nn

from ml.lesson import LessonError
from ml.week08_serving.quantise import Quantised


class Int8Kernel(nn.Module):
    """torch's weight-only int8 product for codes with one scale per output: (…, I) to (…, O)."""

    def __init__(self, quantised: Quantised) -> None:
        super().__init__()
        if quantised.zero is not None or quantised.bits != 8 or quantised.scale.shape[1] != 1:
            raise ValueError("The int8 kernel takes symmetric 8-bit codes with one scale per output channel.")
        if not hasattr(torch, "_weight_int8pack_mm"):
            raise LessonError("This torch has no _weight_int8pack_mm.")
        self.register_buffer("codes", quantised.codes)  # (O, I) int8
        scale = quantised.scale.view(-1).expand(len(quantised.codes))  # (O,)
        self.register_buffer("scale", scale.to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """Computes in bfloat16, returns the input's type."""
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)  # (N, I)
        y = torch._weight_int8pack_mm(flat, self.codes, self.scale)  # (N, O)
        return y.view(*x.shape[:-1], -1).to(x.dtype)  # (…, O)


class Int4Kernel(nn.Module):
    """torch's weight-only int4 product for groups of 32, 64, 128 or 256 with a zero-point: (…, I) to (…, O)."""

    def __init__(self, quantised: Quantised) -> None:
        super().__init__()
        self.group = quantised.codes.shape[1] // quantised.scale.shape[1]
        if quantised.zero is None or quantised.bits != 4 or self.group not in (32, 64, 128, 256):
            raise ValueError("The int4 kernel takes 4-bit codes with a zero-point in groups of 32, 64, 128 or 256.")
        if not hasattr(torch, "_weight_int4pack_mm_for_cpu"):
            raise LessonError("This torch has no _weight_int4pack_mm_for_cpu.")
        packed = torch._convert_weight_to_int4pack_for_cpu(quantised.codes.to(torch.int32), 1)  # (O, I/2) uint8
        self.register_buffer("codes", packed)
        # The kernel's formula is w = (q - 8) s + z; ours is w = s (q - zero) = (q - 8) s + s (8 - zero).
        scale, shift = quantised.scale[..., 0], quantised.scale[..., 0] * (8 - quantised.zero[..., 0])  # (O, G) each
        both = torch.stack((scale.T, shift.T), dim=-1).contiguous()  # (G, O, 2)
        self.register_buffer("both", both.to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """Computes in bfloat16, returns the input's type."""
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)  # (N, I)
        y = torch._weight_int4pack_mm_for_cpu(flat, self.codes, self.group, self.both)  # (N, O)
        return y.view(*x.shape[:-1], -1).to(x.dtype)  # (…, O)


def dynamic_int8(layer: nn.Linear) -> nn.Module:
    """torch's own int8 layer, weights and inputs both rounded (W8A8). Raises LessonError where torch has dropped it."""
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:
        raise LessonError("This torch has no torch.ao.quantization; its successor is the package torchao.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the deprecation that the header speaks of
        return quantize_dynamic(nn.Sequential(layer), {nn.Linear}, dtype=torch.qint8)[0]


def bitsandbytes_linear(layer: nn.Linear) -> nn.Module:
    """LLM.int8() of bitsandbytes on the GPU. Raises LessonError that says what is missing."""
    if not torch.cuda.is_available():
        raise LessonError("bitsandbytes is skipped: there is no GPU here.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LessonError("bitsandbytes is skipped: the package is not installed.")
    import bitsandbytes

    theirs = bitsandbytes.nn.Linear8bitLt(
        layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False
    )
    theirs.load_state_dict(layer.state_dict())
    return theirs.cuda()  # the weights are quantised on the way to the GPU
