"""Quantisation: write each weight as a small integer and share one scale among many of them.

The idea: a trained weight does not need 32 bits. Divide it by a step size ``s``, round to an integer of 8 or 4 bits,
keep ``s``. What varies between methods is only *who shares a scale*, and whether zero sits in the middle:

- absmax: symmetric, ``s = max|w| / qmax``, so that 0 stays 0 (Dettmers et al., "LLM.int8()", 2022, section 2);
- zero-point: ``s = (max w - min w) / (2^b - 1)`` and an integer that stands for 0 (Jacob et al., 2018, equation 1);
- one scale for the whole tensor, for each output channel (row), or for each group of neighbours in a row.

Fewer weights per scale means a smaller largest weight, a smaller ``s`` and a smaller error, at the price of more scales
to store. Rounding to the nearest integer bounds the error of every weight by half a step, ``|w - s q| <= s / 2``.

Left out: quantised activations (``torch_kernels.py`` has torch's), clipping the range by search (it trades a bounded
error on outliers for a finer step), non-uniform levels such as NF4 (week 6) and scales that are themselves quantised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PER_TENSOR, PER_CHANNEL = "tensor", "channel"


@dataclass(frozen=True)
class Quantised:
    """Integer codes and what turns them back into weights: ``w = scale * (code - zero)``.

    ``codes`` is (O, I) int8, or uint8 with a zero-point. ``scale`` and ``zero`` are (R, G, 1): R is O (or 1 for one
    scale per tensor), G is the number of groups in a row. ``zero`` is None for symmetric codes, whose zero is 0.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    bits: int

    def dequantise(self) -> Tensor:
        """The weights that the codes stand for, (O, I) float32."""
        rows, groups, _ = self.scale.shape
        codes = self.codes.view(rows, groups, -1).to(self.scale.dtype)  # (R, G, I/G)
        if self.zero is not None:
            codes = codes - self.zero  # (R, G, I/G)
        return (self.scale * codes).view(self.codes.shape)  # (O, I)

    def bits_per_weight(self) -> float:
        """Bits stored for one weight, its share of the float32 scale and of the uint8 zero-point included."""
        extra = self.scale.numel() * (32 + (8 if self.zero is not None else 0))
        return self.bits + extra / self.codes.numel()


def blocks(weight: Tensor, sharing: str | int) -> Tensor:
    """View ``weight`` (O, I) as (R, G, I/G), one row of the last axis per scale.

    ``sharing`` is "tensor" (1, 1, O·I), "channel" (O, 1, I) or the number of neighbours in a group g (O, I/g, g).
    Raises ValueError where a row does not divide into groups.
    """
    outputs, inputs = weight.shape
    if sharing == PER_TENSOR:
        return weight.reshape(1, 1, -1)
    if sharing == PER_CHANNEL:
        return weight.reshape(outputs, 1, inputs)
    if not isinstance(sharing, int) or sharing < 1 or inputs % sharing:
        raise ValueError(f"sharing must be 'tensor', 'channel' or a divisor of {inputs}, not {sharing!r}.")
    return weight.reshape(outputs, inputs // sharing, sharing)


def scales(weight: Tensor, bits: int, sharing: str | int, symmetric: bool = True) -> tuple[Tensor, Tensor | None]:
    """The step size of every block, (R, G, 1), and its zero-point (None when symmetric)."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, not {bits}.")
    block = blocks(weight, sharing)  # (R, G, I/G)
    if symmetric:
        qmax = 2 ** (bits - 1) - 1  # 127 or 7: one code of 256 (or 16) is given up so that -w and w are treated alike
        return _step(block.abs().amax(-1, keepdim=True) / qmax), None  # (R, G, 1)
    # The range is stretched to hold 0: padding and dropped units must come back as exactly 0.
    low = block.amin(-1, keepdim=True).clamp(max=0)  # (R, G, 1)
    high = block.amax(-1, keepdim=True).clamp(min=0)  # (R, G, 1)
    scale = _step((high - low) / (2**bits - 1))  # (R, G, 1)
    return scale, torch.round(-low / scale)  # (R, G, 1) each: the code that stands for 0


def _step(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))  # a block of zeros: any step will do, 0 is not one


def to_codes(weight: Tensor, scale: Tensor, zero: Tensor | None, bits: int) -> Tensor:
    """Round to the nearest code: q = clip(round(w / s) + z).

    Any shapes that broadcast. Half a step is the largest error, clipping included: rounding the zero-point shifts the
    grid by at most half a step against the range, so the most that is clipped is that half step.
    """
    if zero is None:
        qmax = 2 ** (bits - 1) - 1
        return torch.round(weight / scale).clamp(-qmax, qmax).to(torch.int8)
    return (torch.round(weight / scale) + zero).clamp(0, 2**bits - 1).to(torch.uint8)


def quantise(weight: Tensor, bits: int = 8, sharing: str | int = PER_CHANNEL, symmetric: bool = True) -> Quantised:
    """Round ``weight`` (O, I) to ``bits`` bits: round-to-nearest, the method every other one is measured against."""
    if weight.ndim != 2 or not weight.is_floating_point() or not torch.isfinite(weight).all():
        raise ValueError("weight must be a matrix of finite floating-point numbers.")
    weight = weight.detach().float()  # (O, I)
    scale, zero = scales(weight, bits, sharing, symmetric)  # (R, G, 1)
    codes = to_codes(blocks(weight, sharing), scale, zero, bits)  # (R, G, I/G)
    return Quantised(codes.view(weight.shape), scale, zero, bits)


def error_bound(quantised: Quantised) -> Tensor:
    """The most that each weight can be off, (O, I): |w - s (q - z)| <= s / 2."""
    rows, groups, _ = quantised.scale.shape
    half = quantised.scale / 2  # (R, G, 1)
    each = quantised.codes.view(rows, groups, -1).shape  # (R, G, I/G)
    return half.expand(each).reshape(quantised.codes.shape)  # (O, I)
