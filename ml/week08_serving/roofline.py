"""The roofline: is a step limited by arithmetic or by memory, and what does that allow?

The idea: a machine computes at most P operations and moves at most W bytes a second. Work that does I operations for
each byte it moves (its arithmetic intensity) therefore runs at no more than

    min(P, I · W)  operations a second;   the two meet at the ridge, I = P / W.

A linear layer with B rows of input and weights of b bytes does 2 · B operations on each weight, so I = 2 B / b: one
request in float32 has an intensity of 0.5, far left of any ridge. Decoding is bound by memory. Hence the three
remedies of this week: smaller weights (b), more rows per pass (B, by batching requests or by checking guesses), and
nothing else.

Source: Williams, Waterman and Patterson, "Roofline", 2009; Pope et al., "Efficiently Scaling Transformer Inference",
2022. Left out: caches (the matrices here are larger than any), and traffic for activations, small beside the weights'.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.week04_transformers.decoder import DecoderConfig


@dataclass(frozen=True)
class Machine:
    """What this computer does at best: ``peak`` float32 operations and ``bandwidth`` bytes read a second."""

    peak: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """The intensity in operations per byte from which on arithmetic is the limit."""
        return self.peak / self.bandwidth

    def attainable(self, intensity: float) -> float:
        """Operations a second that the roof allows: min(P, I · W)."""
        return min(self.peak, intensity * self.bandwidth)


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The fastest of ``repeats`` runs in seconds of this process's own time, after one that warms the caches.

    The fastest and not the mean: other programs can only ever slow a run down. Counts the time of all threads, so that
    it equals the time on the clock only on one thread.
    """
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure_machine(size: int = 1024, megabytes: int = 256) -> Machine:
    """Time a product of two square matrices and the sum of a vector that no cache holds."""
    a, b = torch.randn(size, size), torch.randn(size, size)  # (n, n) each
    peak = 2 * size**3 / seconds(lambda: a @ b)  # n^3 multiplications and as many additions
    stream = torch.ones(megabytes * 250_000)  # 4 bytes each
    return Machine(peak, stream.nbytes / seconds(stream.sum))


def intensity(batch: int, bytes_per_weight: float) -> float:
    """Operations per byte of a linear layer in decoding, I = 2 B / b."""
    return 2 * batch / bytes_per_weight


def layer_speed(layers: list[Callable[[Tensor], Tensor]], inputs: int, batch: int, dtype: torch.dtype) -> float:
    """Seconds for one pass of (batch, inputs) through every layer, when no cache holds all of their weights."""
    x = torch.randn(batch, inputs, dtype=dtype)  # (B, I)
    return seconds(lambda: [layer(x) for layer in layers], repeats=3)


def kv_bytes(config: DecoderConfig, bytes_per_number: int = 4) -> int:
    """Bytes of KV cache per position: a key and a value for each layer and key head, 2 · L · H_kv · D · b."""
    heads = config.kv_heads or config.heads
    return 2 * config.layers * heads * (config.width // config.heads) * bytes_per_number


def decode_limit(machine: Machine, weights: int, cache: int, batch: int) -> float:
    """The most tokens a second that memory allows: B tokens for one reading of the weights and of B caches (bytes)."""
    return batch * machine.bandwidth / (weights + batch * cache)
