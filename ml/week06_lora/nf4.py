"""Four bits a weight: NormalFloat, block by block, and its scales quantised once more.

Weights of a trained layer look normal around zero. So the 16 values that 4 bits can name are put where a normal
distribution has its weight: at quantiles, close together near zero and far apart in the tails. Each block of 64 weights
is divided by its largest absolute value (its *scale*), so that it fills [-1, 1], and each weight becomes the number of
the nearest of the 16 values.

    scale = max |w| of the block            code = nearest of w / scale            ŵ = value[code] x scale
    |w - ŵ| <= scale x (widest gap between values) / 2 = 0.152 scale

One float32 scale for 64 weights costs half a bit a weight. *Double quantisation* makes the scales 8-bit too, in
blocks of 256 with a float32 of their own: 8/64 + 32/(64 x 256) = 0.127 bits. 4.5 bits become 4.127; at 65 billion
weights that is 3 GB.

Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (2023).
Left out: bitsandbytes' 8-bit float for the scales (here: 8-bit whole numbers), and the GPU kernels that multiply
without writing the floats to memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

BLOCK = 64  # weights that share a scale
SCALES = 256  # scales that share a scale of their own


def nf4_values() -> Tensor:
    """The 16 values (16,), ascending from -1 to 1, zero among them.

    Eight quantiles for the positive half and seven for the negative, evenly spaced in probability from 1/2 outwards to
    0.9677 (the quantile of 1 would be infinite), plus zero, which must be exact: padding and pruned weights are zeros.
    """
    offset = ((1 - 1 / 32) + (1 - 1 / 30)) / 2  # 0.9677: the mean of the outermost quantiles of 16 and of 15 values
    positive = norm.ppf(torch.linspace(offset, 0.5, 9, dtype=torch.float64)[:-1].numpy())  # (8,)
    negative = -norm.ppf(torch.linspace(offset, 0.5, 8, dtype=torch.float64)[:-1].numpy())  # (7,)
    values = torch.tensor([*positive, 0.0, *negative]).sort().values  # (16,)
    return (values / values.max()).float()  # (16,)


def int4_values() -> Tensor:
    """Sixteen evenly spaced values from -1 to 1 (16,), without zero: what NF4 is compared with."""
    return torch.linspace(-1, 1, 16)


@dataclass(frozen=True)
class Packed:
    """A quantised tensor: two codes a byte, a scale a block; where the scales are quantised, theirs.

    ``codes`` (ceil(n / 2),) uint8; ``scales`` (blocks,) float32, or uint8 with ``outer`` (ceil(blocks / 256),) and
    ``mean`` (), both float32.
    """

    shape: tuple[int, ...]
    codes: Tensor
    scales: Tensor
    outer: Tensor | None = None
    mean: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        parts = (self.codes, self.scales, self.outer, self.mean)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)


def in_blocks(values: Tensor, size: int) -> Tensor:
    """(n,) -> (ceil(n / size), size), the last block filled up with zeros."""
    missing = -len(values) % size
    return torch.cat([values, values.new_zeros(missing)]).view(-1, size)


def quantise(weight: Tensor, double: bool = True, values: Tensor | None = None) -> Packed:
    """A tensor of floats in four bits; raises ValueError for an empty one and for one that is not finite."""
    weight = weight.detach()
    if weight.numel() == 0 or not torch.isfinite(weight).all():
        raise ValueError("Only a tensor with finite numbers in it can be quantised.")
    values = nf4_values() if values is None else values  # (16,)
    blocks = in_blocks(weight.float().flatten(), BLOCK)  # (blocks, 64)
    scales = blocks.abs().amax(dim=1)  # (blocks,)
    outer = mean = None
    kept = scales  # (blocks,)
    if double:
        kept, outer, mean = quantise_scales(scales)
        scales = dequantise_scales(kept, outer, mean)  # (blocks,)   code with the scales that decoding will use
    unit = blocks / scales.clamp(min=1e-12).unsqueeze(1)  # (blocks, 64)   in [-1, 1], or a little over
    middles = (values[1:] + values[:-1]) / 2  # (15,)   the nearest value changes half-way between two
    codes = torch.bucketize(unit, middles).to(torch.uint8).flatten()  # (blocks x 64,)
    return Packed(tuple(weight.shape), codes[0::2] << 4 | codes[1::2], kept, outer, mean)


def dequantise(packed: Packed, values: Tensor | None = None) -> Tensor:
    """The floats again, in the tensor's shape."""
    values = nf4_values() if values is None else values  # (16,)
    scales = packed.scales  # (blocks,)
    if packed.outer is not None:
        scales = dequantise_scales(packed.scales, packed.outer, packed.mean)
    codes = torch.stack([packed.codes >> 4, packed.codes & 15], dim=1).long()  # (bytes, 2)
    weights = values[codes].view(-1, BLOCK) * scales.unsqueeze(1)  # (blocks, 64)   value[code] x scale
    return weights.flatten()[: torch.Size(packed.shape).numel()].view(packed.shape)


def quantise_scales(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales (blocks,) as uint8 (blocks,), with an outer scale per 256 of them, and their mean.

    All scales are positive, so half of a signed range would lie idle; less their mean they lie on both sides of zero.
    """
    mean = scales.mean()  # ()
    blocks = in_blocks(scales - mean, SCALES)  # (outer, 256)
    outer = blocks.abs().amax(dim=1).clamp(min=1e-12)  # (outer,)
    codes = (blocks / outer.unsqueeze(1) * 127 + 128).round().to(torch.uint8)  # (outer, 256)   1 to 255
    return codes.flatten()[: len(scales)], outer, mean


def dequantise_scales(codes: Tensor, outer: Tensor, mean: Tensor) -> Tensor:
    """The scales (blocks,) again, each within outer / 254 of what it was."""
    blocks = in_blocks(codes.float() - 128, SCALES) / 127 * outer.unsqueeze(1)  # (outer, 256)
    return blocks.flatten()[: len(codes)] + mean  # (blocks,)
