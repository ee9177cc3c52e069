"""Answers to the exercises of the README. Each is a function that measures; the tests check what it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.layers import LINEAR, QuantLinear, copy_of
from ml.week08_serving.quantise import Quantised, error_bound, quantise
from ml.week08_serving.roofline import Machine


def half_precision_scales(weight: Tensor, bits: int = 4, group: int = 32) -> dict[str, float]:
    """Exercise 1: keep the scales as float16. What does it save, what does it cost?

    Returns bits per weight before and after, and the mean error of a weight before and after, as a share of the
    mean step. The codes are kept; only the scale they are multiplied with loses 13 of its 23 bits.
    """
    weight = weight.detach()  # (O, I)
    full = quantise(weight, bits, group)
    half = Quantised(full.codes, full.scale.half().float(), None, bits)  # (O, G, 1)
    step = 2 * error_bound(full).mean()  # ()
    errors = [float((weight - each.dequantise()).abs().mean() / step) for each in (full, half)]
    saved = 16 * full.scale.numel() / full.codes.numel()
    return {
        "bits before": full.bits_per_weight(),
        "bits after": full.bits_per_weight() - saved,
        "error before": errors[0],
        "error after": errors[1],
    }


def quantise_head(model: Decoder) -> Decoder:
    """Exercise 2: the head reads its whole matrix for every token too. A copy of ``model`` with the head in int8.

    The embedding keeps the float matrix (it reads one row of it for each token), so that memory *grows* by the codes
    while the bytes read per token shrink.
    """
    changed = copy_of(model)
    changed.head = QuantLinear(quantise(model.head.weight, 8))
    return changed


def bytes_read_per_token(model: Decoder) -> int:
    """Bytes of weights that one decoding step reads: all linear layers, and one row of the embedding."""
    total = model.config.width * model.embedding.weight.element_size()
    for name, layer in model.named_modules():
        if isinstance(layer, QuantLinear):
            total += sum(buffer.nbytes for buffer in layer.buffers())
        elif isinstance(layer, nn.Linear) and name.split(".")[-1] in (*LINEAR, "head"):
            total += layer.weight.nbytes
    return total


def open_loop(rate: float, service: float, count: int = 20_000, seed: int = 0) -> float:
    """Exercise 3: requests arrive at random, ``rate`` a second, and one server needs ``service`` seconds for each.

    Returns the mean wait in seconds before service begins, simulated. Theory (M/D/1, Pollaczek and Khinchine) says
    r s^2 / (2 (1 - r s)): it grows without bound as the load r s comes near 1, which no closed loop shows.
    """
    if rate <= 0 or not 0 < rate * service < 1:
        raise ValueError(f"The load, rate times service, must be between 0 and 1, not {rate * service:.2f}.")
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)  # (count,) seconds between arrivals
    wait, total = 0.0, 0.0
    for gap in gaps.tolist():
        wait = max(0.0, wait + service - gap)  # Lindley: the last one's wait and service, less the time since it came
        total += wait
    return total / count


def best_batch(machine: Machine, weights: int, cache: int, deadline: float, operations: float) -> int:
    """Exercise 4: the largest batch whose decoding step stays under ``deadline`` seconds.

    A step of B rows takes the longer of two times: reading ``weights`` + B ``cache`` bytes, and computing B
    ``operations``. Returns 0 where one row is too slow already.
    """
    if operations <= 0:
        raise ValueError("A row needs some operations, or no batch would be too large.")
    batch = 0
    while True:
        rows = batch + 1
        reading = (weights + rows * cache) / machine.bandwidth
        if max(reading, rows * operations / machine.peak) > deadline:
            return batch
        batch = rows


def halved_bandwidth(machine: Machine) -> Machine:
    """The same machine when two programs share its memory: the ridge moves right, and more work is bound by memory."""
    return replace(machine, bandwidth=machine.bandwidth / 2)


def clipping(
    weight: Tensor, bits: int = 4, shares: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
) -> dict[float, float]:
    """Exercise 5: shrink the range below the largest weight. {share of the largest: mean squared error}.

    The few weights beyond the range get a large error, all others a smaller step.
    """
    qmax = 2 ** (bits - 1) - 1
    weight = weight.detach()  # (O, I)
    largest = weight.abs().amax(1, keepdim=True)  # (O, 1)
    found = {}
    for share in shares:
        scale = share * largest / qmax  # (O, 1)
        back = scale * torch.round(weight / scale).clamp(-qmax, qmax)  # (O, I)
        found[share] = float(((weight - back) ** 2).mean())
    return found
