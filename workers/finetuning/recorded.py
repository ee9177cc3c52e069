"""A row's pass forward and back as a graph of a GPU's work: recorded once, then started with one call for every row.

For a small model such a pass is over five thousand small pieces of work, and handing them out one by one takes Python
and torch longer than a GPU needs to do them. A graph hands them out at once, and always in the same shape: rows are
filled up to the longest one with tokens that nothing is predicted from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor, nn

from workers.finetuning import schedule
from workers.finetuning.packing import IGNORED, Example, Packed
from workers.finetuning.schedule import Step

log = structlog.get_logger()

TENSORS = ("ids", "positions", "targets", "scored", "bounds")


@dataclass(frozen=True, slots=True)
class Shape:
    """What every row is filled up to. ``longest``: tokens of a sequence."""

    tokens: int
    sequences: int
    scored: int
    longest: int

    @classmethod
    def of(cls, steps: Sequence[Step], examples: Sequence[Example]) -> Shape:
        packs = [pack for step in steps for rows in step.rows for pack in rows]
        tokens = schedule.longest(steps, examples)
        scored = max(sum(examples[index].counted for index in pack) for pack in packs)
        longest = max(len(example.ids) for example in examples)
        sequences = max(map(len, packs)) + -(-tokens // longest)  # what fills a row is cut as sequences are
        return cls(tokens, sequences, scored, longest)

    def fill(self, row: Packed) -> Packed:
        """The same row, with the tensors of every other. ``row`` is on the CPU."""
        missing = self.tokens - row.ids.shape[1]
        pieces = [min(self.longest, missing - start) for start in range(0, missing, self.longest)]
        places = torch.cat([torch.arange(piece) for piece in pieces] or [torch.arange(0)])
        ends = row.bounds[-1] + torch.tensor(pieces, dtype=torch.int32).cumsum(0)
        bounds = torch.cat([row.bounds, ends.to(torch.int32)])
        return Packed(
            nn.functional.pad(row.ids, (0, missing)),
            torch.cat([row.positions, places[None]], 1),
            nn.functional.pad(row.targets, (0, missing), value=IGNORED),
            # The last token of a row predicts nothing, whether it fills it or ends a sequence.
            nn.functional.pad(row.scored, (0, self.scored - row.counted), value=self.tokens - 1),
            nn.functional.pad(bounds, (0, self.sequences + 1 - len(bounds)), value=self.tokens),  # empty sequences
            (*row.lengths, *pieces),
            longest=self.longest,
            filled=True,
        )


class Graph(Protocol):
    def replay(self) -> None: ...


def capture(run: Callable[[], None]) -> Graph:
    """Record ``run``, which has been run before."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


class Recorded:
    """``recorded(row, factor)`` adds the gradients of ``factor`` times the loss of ``row``, and returns that loss."""

    def __init__(
        self, objective: Any, trained: Sequence[nn.Parameter], row: Packed,
        compute: Callable[[], AbstractContextManager[Any]],
    ) -> None:  # fmt: skip
        """``row``: filled, and where it is computed. The gradients of ``trained`` become tensors that stay: they may
        be set to zero, and never be taken away. Raises RuntimeError where this cannot be recorded."""
        device = row.ids.device
        self._row = dataclasses.replace(row, **{name: getattr(row, name).clone() for name in TENSORS})
        self._factor, self._loss = torch.zeros((), device=device), torch.zeros((), device=device)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)

        def run() -> None:
            with compute():
                loss: Tensor = objective(self._row) * self._factor
            torch.autograd.backward(loss)
            self._loss.copy_(loss.detach())

        self._graph = _recorded(run, device)

    def __call__(self, row: Packed, factor: float) -> Tensor:
        for name in TENSORS:
            getattr(self._row, name).copy_(getattr(row, name), non_blocking=True)
        self._row = dataclasses.replace(self._row, lengths=row.lengths)
        self._factor.fill_(factor)
        self._graph.replay()
        return self._loss


def _recorded(run: Callable[[], None], device: torch.device) -> Graph:
    if device.type == "cuda":  # libraries choose their kernels now, and take the memory that they keep
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(2):
                run()
        torch.cuda.current_stream(device).wait_stream(aside)
    return capture(run)


def recorded(
    objective: Any, trained: Sequence[nn.Parameter], row: Packed, compute: Callable[[], AbstractContextManager[Any]]
) -> Recorded | None:
    """None, with the gradients taken away, where it does not work."""
    try:
        return Recorded(objective, trained, row, compute)
    except RuntimeError as error:
        log.warning("finetuning.no_graph", error=str(error).splitlines()[0][:200])
        for parameter in trained:
            parameter.grad = None
        return None
