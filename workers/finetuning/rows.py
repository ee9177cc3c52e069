"""Packed rows on the device that computes them, the next one made while a GPU is still at the one before."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.finetuning.packing import Example, Packed, packed
from workers.finetuning.recorded import Shape


class Rows:
    """``rows(pack)`` for the indices of ``examples`` in a pack. An empty pack, one of a process that has less to do
    than others, is the first example."""

    def __init__(self, examples: Sequence[Example], device: torch.device, shape: Shape | None = None) -> None:
        """``shape``: what all rows are filled up to."""
        self._examples, self._device, self._shape = examples, device, shape
        self._ahead: tuple[tuple[int, ...], Packed] | None = None

    def __call__(self, pack: tuple[int, ...]) -> Packed:
        if self._ahead is not None and self._ahead[0] == pack:
            return self._ahead[1]
        row = packed([self._examples[index] for index in (pack or (0,))])
        return (row if self._shape is None else self._shape.fill(row)).to(self._device)

    def prepare(self, pack: tuple[int, ...]) -> None:
        """Have this one ready."""
        self._ahead = pack, self(pack)
