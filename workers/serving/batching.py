"""Continuous batching: which tokens go into the next pass, and what becomes of those that come out.

Rows join and leave between any two passes. A pass holds the next token of every row that is writing and, up to a
budget, prompts in the order they came: a long prompt is read in stretches, so that it holds up nobody's next token for
longer than one stretch. Runs in one thread; knows neither threads nor event loops.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workers.serving.adapters import Adapter, Sides
from workers.serving.cache import BLOCK, Prefixes, Slots
from workers.serving.constrained import Follower
from workers.serving.graphs import Graphs
from workers.serving.llama import Llama, Pass
from workers.serving.requests import EngineError, Finish, Piece, Request, Usage
from workers.serving.sampling import Choice, choose
from workers.serving.text import Reader, Stops

STRETCH, GPU_STRETCH = 128, 2_048  # tokens of prompts in one pass while rows are writing
BURST, GPU_BURST = 512, 8_192  # and while none is
GPU_PAUSE = 4  # passes on a GPU after which prompts are read again while rows are writing: until then they are graphs


@dataclass(slots=True, eq=False, repr=False)  # a row's text belongs in no log
class Row:
    """One request on its way. ``tokens`` are the prompt's and the made ones; the first ``done`` are in the cache."""

    request: Request
    adapter: Adapter | None
    tokens: list[int]
    limit: int  # the number of tokens at which it ends
    choice: Choice
    reader: Reader
    stops: Stops
    follower: Follower | None = None
    prompt: int = 0
    done: int = 0
    cached: int = 0
    slot: int = -1
    cancelled: bool = False
    unsent: list[int] = field(default_factory=list)  # made since the last piece
    submitted: float = 0.0
    started: float = 0.0
    first: float = 0.0
    stream: Any = None  # whom its pieces go to (the engine's)

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.done

    @property
    def writing(self) -> bool:
        return len(self.tokens) > self.prompt

    def usage(self) -> Usage:
        made = len(self.tokens) - self.prompt
        now = time.monotonic()
        began, first = (at - self.submitted if at else 0.0 for at in (self.started, self.first))
        return Usage(self.prompt, made, self.cached, began, first, now - self.submitted)


Delivery = tuple[Row, Piece | EngineError]


class Batch:
    """The running rows, their cache, and the passes."""

    def __init__(self, model: Llama, slots: int, ends: frozenset[int], prefix_bytes: int) -> None:
        self.model, self.ends = model, ends
        self.slots = Slots(
            len(model.layers),
            slots,
            model.kv_heads,
            model.context,
            model.size,
            dtype=model.dtype,
            device=model.device,
        )
        self.prefixes = Prefixes(prefix_bytes)
        self.sides = Sides(model)
        self.graphs = Graphs(model, self.slots, self.sides)
        gpu = model.device.type == "cuda"
        self._stretch, self._burst = (GPU_STRETCH, GPU_BURST) if gpu else (STRETCH, BURST)
        self.pause = GPU_PAUSE if gpu else 0
        self._unread = 0  # passes since prompts were read
        self.rows: list[Row] = []  # in order of arrival
        self.free = sorted(range(slots), reverse=True)  # the lowest is taken first: passes look at slots from 0 on
        self.counts: Counter[str] = Counter()
        self.busy = 0.0

    def admit(self, row: Row) -> None:
        """There must be a free slot."""
        row.slot, row.started = self.free.pop(), time.monotonic()
        self.rows.append(row)
        self.counts["prompt_tokens"] += row.prompt

    def release(self, row: Row) -> None:
        """Free the row's slot; what it has read and written stays in the prefix cache."""
        self._keep(row)
        self.rows.remove(row)
        self.free = sorted([*self.free, row.slot], reverse=True)
        row.slot = -1

    def drop_cancelled(self) -> list[Row]:
        gone = [row for row in self.rows if row.cancelled]
        for row in gone:
            self.release(row)
        self.counts["cancelled"] += len(gone)
        return gone

    @torch.inference_mode()
    def step(self) -> list[Delivery]:
        """One pass, and the pieces that came of it. Rows that ended have left their slots."""
        began = time.monotonic()
        plan = self._plan()
        wanted = [row for row, count in plan if row.done + count == len(row.tokens)]
        logits = self._forward(plan, wanted)
        for row, count in plan:
            row.done += count
            if not row.writing:
                self._keep(row)
        tokens = choose(self._masked(logits, wanted), [row.choice for row in wanted]) if wanted else []
        deliveries = [
            delivery
            for row, token in zip(wanted, tokens, strict=True)
            if (delivery := self._advance(row, token)) is not None
        ]
        self.counts["steps"] += 1
        self.counts["step_rows"] += len(plan)
        self.busy += time.monotonic() - began
        return deliveries

    def _plan(self) -> list[tuple[Row, int]]:
        """Rows and how many of their tokens."""
        budget = self._burst
        if any(row.writing for row in self.rows):
            budget = self._stretch if self._unread >= self.pause else 0
        plan: list[tuple[Row, int]] = []
        reading: set[Hashable] = set()
        for row in self.rows:
            if row.writing:
                plan.append((row, row.pending))
                continue
            if budget <= 0:
                continue
            self._reuse(row)
            beginning = (row.adapter, tuple(row.tokens[: row.done + BLOCK]))
            if self.prefixes.limit > 0 and row.pending > BLOCK and beginning in reading:
                continue  # an earlier row reads the same in this pass: the next one finds it in the cache
            reading.add(beginning)
            count = min(row.pending, budget)
            if count < row.pending:  # a stretch ends with a block, so that the next may begin with a kept one
                count = max((row.done + count) // BLOCK * BLOCK - row.done, 1)
            budget -= count
            plan.append((row, count))
        self._unread = 0 if reading else self._unread + 1
        return plan

    def _reuse(self, row: Row) -> None:
        """Copy what an earlier request has read already. At least one token is left: its logits are needed."""
        if row.done % BLOCK:
            return
        blocks = self.prefixes.find(row.adapter, row.tokens[: row.prompt - 1], row.done)
        if blocks:
            self.slots.write(row.slot, row.done, blocks)
            row.done += len(blocks) * BLOCK
            row.cached += len(blocks) * BLOCK
            self.counts["cached_tokens"] += len(blocks) * BLOCK

    def _keep(self, row: Row) -> None:
        if row.adapter is None or not row.adapter.retired:
            self.prefixes.keep(row.adapter, row.tokens[: row.done], self.slots, row.slot)

    def _forward(self, plan: Sequence[tuple[Row, int]], wanted: Sequence[Row]) -> Tensor:
        asked = {id(row) for row in wanted}
        parts = [(row.slot, row.done, row.tokens[row.done : row.done + count]) for row, count in plan]
        batch = Pass.of(parts, [id(row) in asked for row, _ in plan], self.model.device)
        owners = [plan[number][0].adapter for number in batch.order]
        logits = self.graphs.forward(batch, owners)
        if logits is not None:
            return logits
        return self.model.forward(batch, self.slots, self.sides.deltas(owners, batch.wanted))

    def _masked(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        for number, row in enumerate(rows):
            if row.follower is not None:
                logits[number].masked_fill_(~row.follower.allowed().to(logits.device), float("-inf"))
            elif len(row.tokens) - row.prompt < row.request.min_tokens:
                logits[number, list(self.ends)] = float("-inf")
        return logits

    def _advance(self, row: Row, token: int) -> Delivery | None:
        made = [token]
        ended = token in self.ends
        try:
            if row.follower is not None:
                row.follower.take(made)
                if not ended and (forced := row.follower.forced()[: row.limit - len(row.tokens) - 1]):
                    row.follower.take(forced)
                    made += forced
                    ended = forced[-1] in self.ends
        except EngineError as error:
            return self._failed(row, error)
        row.first = row.first or time.monotonic()
        row.tokens += made
        row.unsent += made
        self.counts["completion_tokens"] += len(made)
        complete = ended or (row.follower is not None and row.follower.done)
        last = complete or len(row.tokens) >= row.limit
        text, stopped = row.stops.push(row.reader.push(made[:-1] if ended else made, last=last), last=last)
        finish: Finish | None = "stop" if complete or stopped else "length" if last else None
        if finish is None and not text:
            return None
        piece = Piece(text, tuple(row.unsent), finish, row.usage() if finish else None)
        row.unsent.clear()
        if finish is not None:
            self.release(row)
            self.counts["finished"] += 1
        return row, piece

    def _failed(self, row: Row, error: EngineError) -> Delivery:
        self.release(row)
        return row, error

    def fail(self, error: EngineError) -> list[Delivery]:
        """End every row with ``error``; nothing of them is kept."""
        rows, self.rows = self.rows, []
        self.free = sorted([*self.free, *(row.slot for row in rows)], reverse=True)
        return [(row, error) for row in rows]
