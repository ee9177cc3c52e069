"""Passes of rows that are all writing, as graphs of a GPU's work: recorded once, and then started with one call.

Such a pass is about a thousand small pieces of work, each shorter than the time that Python and torch need to hand it
out. A graph hands out all of them at once. It is recorded for a number of slots and a length, in a few sizes of each,
when a pass first needs it; every slot up to the last one takes part, whoever is in it. What those without a row compute
is thrown away, and the keys and values that they write go to the slot's last position, which no row ever reads: a row
ends when its last token is made, and that token is not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
import torch
from torch import Tensor

from workers.serving.adapters import Adapter, Sides
from workers.serving.cache import Slots
from workers.serving.llama import Llama, Pass

log = structlog.get_logger()

LENGTH = 256  # lengths are rounded up to so many positions
KEEP = 64  # graphs; each holds what its pass computes with, a few MB


class Graph(Protocol):
    def replay(self) -> None: ...


@dataclass(slots=True, eq=False)
class Recorded:
    """``table`` (3, S): id, position and slot of each slot's token, to be filled before ``graph`` is started."""

    graph: Graph
    table: Tensor
    logits: Tensor  # (S, V)
    adapter: Adapter | None
    work: Callable[[], Tensor]  # holds the tensors that the graph reads


class Graphs:
    """Of one model and its slots; used by one thread."""

    def __init__(self, model: Llama, cache: Slots, sides: Sides) -> None:
        self._model, self._cache, self._sides = model, cache, sides
        self._slots = cache.keys.shape[1]
        self.found: dict[tuple[int, int, int], Recorded] = {}  # the one used last stands last
        self.usable = model.device.type == "cuda"
        if self.usable:
            self._pool = torch.cuda.graph_pool_handle()

    def forward(self, batch: Pass, owners: Sequence[Adapter | None]) -> Tensor | None:
        """Logits (R, V) as of ``Llama.forward``; None for a pass that is none of this kind: one that reads prompts, or
        where rows have different adapters."""
        alike = all(owner is owners[0] for owner in owners)
        if not self.usable or batch.chunks or not alike:
            return None
        recorded = self._recorded(max(batch.singles) + 1, max(batch.single_lengths), owners[0])
        if recorded is None:
            return None
        self._fill(recorded.table, batch)
        recorded.graph.replay()
        return recorded.logits[batch.slots[batch.wanted]]

    def forget(self, adapter: Adapter) -> None:
        self.found = {key: one for key, one in self.found.items() if one.adapter is not adapter}

    def _recorded(self, rows: int, length: int, adapter: Adapter | None) -> Recorded | None:
        """The graph for at least so many rows and positions; None where it cannot be recorded."""
        rows = min(1 << (rows - 1).bit_length(), self._slots)
        length = min(-(-length // LENGTH) * LENGTH, self._model.context)
        key = (rows, length, id(adapter))
        recorded = self.found.pop(key, None)
        if recorded is None:
            try:
                recorded = self._record(rows, length, adapter)
            except RuntimeError as error:
                log.warning("serving.no_graphs", error=str(error).splitlines()[0][:200])
                self.usable = False
                return None
        self.found[key] = recorded
        while len(self.found) > KEEP:
            del self.found[next(iter(self.found))]
        return recorded

    def _record(self, rows: int, length: int, adapter: Adapter | None) -> Recorded:
        device = self._model.device
        table, run = self.work(rows, length, adapter)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):  # libraries choose their kernels now, and take the memory that they keep
            run()
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: an adapter is being loaded, say.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = run()
        return Recorded(graph, table, logits, adapter, run)

    def work(self, rows: int, length: int, adapter: Adapter | None) -> tuple[Tensor, Callable[[], Tensor]]:
        """What is recorded: a pass over a table (3, S) that may be filled anew, and that table."""
        model, device = self._model, self._model.device
        table = torch.empty((3, rows), dtype=torch.long, device=device)
        self._fill(table, None)
        places, every = torch.arange(length, device=device), torch.arange(rows, device=device)
        slots, lengths = tuple(range(rows)), (length,) * rows
        deltas = None if adapter is None else self._sides.alone(adapter)

        def run() -> Tensor:
            mask = torch.where(places <= table[1, :, None], 0.0, float("-inf")).to(model.dtype)[:, None, None]
            batch = Pass(table[0], table[1], table[2], slots, lengths, (), every, slots, mask)
            return model.forward(batch, self._cache, deltas)

        return table, run

    def _fill(self, table: Tensor, batch: Pass | None) -> None:
        """The tokens of ``batch``; slots without one write where nobody reads."""
        table[0] = 0
        table[1] = self._model.context - 1
        table[2] = torch.arange(table.shape[1], device=table.device)
        if batch is not None:
            table[:2, batch.slots] = torch.stack((batch.ids, batch.positions))
