"""A pretrained model in half a minute: week 4's decoder on bytes of news, for what SmolLM2 is too slow for.

Rank studies and learning curves need dozens of trainings. A decoder of 0.3 million weights shows the same effects in
seconds each; how far its numbers carry over to large models is for the full run on SmolLM2, and for the papers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week06_lora.data import byte_batches
from ml.week06_lora.examples import Batch
from ml.week06_lora.tune import Tuned, evaluate, tune

LENGTH, ROWS = 96, 8  # bytes in a row, rows in a batch
WEIGHTS = DecoderConfig(vocabulary=256, context=LENGTH, width=96, layers=3, heads=4)


def pretrain(data: Tensor, steps: int, seed: int = 0) -> Decoder:
    """A decoder that has read ``steps`` batches of ``data`` (N,)."""
    torch.manual_seed(seed)
    model = Decoder(WEIGHTS)
    tune(model, byte_batches(data, ROWS, LENGTH, steps, seed), steps, 4e-3)
    return model


def bits(model: Decoder, held: list[Batch]) -> float:
    """Bits per byte of held-out text (the tokens are bytes)."""
    return evaluate(model, held) / math.log(2)


@dataclass
class Trial:
    """One fine-tuning: the model, what the loop measured, and (domain, general) bits per byte before and on the way."""

    model: Decoder
    tuned: Tuned
    path: list[tuple[float, float]]


def try_out(
    base: Decoder,
    prepare: Callable[[Decoder], object],
    batches: Iterable[Batch],
    total: int,
    peak: float,
    held: tuple[list[Batch], list[Batch]],
    every: int = 25,
    seed: int = 0,
) -> Trial:
    """Fine-tune a copy of ``base`` after ``prepare`` (LoRA goes in there); look at both texts every so many steps."""
    torch.manual_seed(seed)  # the same A for the same layers
    model = copy.deepcopy(base)
    prepare(model)
    path = [(bits(model, held[0]), bits(model, held[1]))]

    def look(step: int) -> None:
        if step % every == 0 or step == total:
            model.eval()
            path.append((bits(model, held[0]), bits(model, held[1])))
            model.train()

    return Trial(model, tune(model, batches, total, peak, look), path)
