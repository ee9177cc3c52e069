"""What binds work to its run: the right to write, progress and checkpoint in the transactions of the work itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import runs
from assistant.errors import AlmanacError
from workers.ingestion.report import Report

FAILURES_KEPT = 1_000  # of a run, for its result, over the death of its worker


class LeaseLost(Exception):
    """The run is another worker's by now; whatever this transaction did is rolled back."""


class SourceBusy(AlmanacError):
    """Another run reads the same source; this one has to wait."""


class Lease(Protocol):
    """``id`` names what the listing of this work has seen; ``owner`` who holds the lease."""

    id: uuid.UUID
    owner: str

    @property
    def checkpoint(self) -> Mapping[str, Any]: ...

    async def advance(self, session: AsyncSession, report: Report, **place: Any) -> None:
        """In the transaction of a piece of work: it is ours to do, and done. ``place``: where to go on."""
        ...


@dataclass(slots=True)
class RunLease:
    """The lease on a row of ``runs``."""

    id: uuid.UUID
    owner: str
    checkpoint: dict[str, Any] = field(default_factory=dict)

    async def advance(self, session: AsyncSession, report: Report, **place: Any) -> None:
        checkpoint = None
        if place:
            kept = {"counts": report.counts(), "failed": report.failed[:FAILURES_KEPT]}
            checkpoint = {**self.checkpoint, **place, **kept}
        if not await runs.advance(session, self.id, self.owner, report.progress(), checkpoint):
            raise LeaseLost
        if checkpoint is not None:
            self.checkpoint = checkpoint


@dataclass(slots=True)
class NoLease:
    """For work outside a run: in tests, and measurements."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    owner: str = ""
    checkpoint: dict[str, Any] = field(default_factory=dict)

    async def advance(self, session: AsyncSession, report: Report, **place: Any) -> None:
        self.checkpoint |= place
