"""Runs: background jobs as rows. A job is claimed under a lease; what died is swept up and queued again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Run

MAX_ATTEMPTS = 5  # in a row that got nowhere
REQUEST_LOCK = 0x414C4D43
SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class RunRow:
    id: uuid.UUID
    kind: str
    state: str
    arguments: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    attempts: int
    created_at: datetime
    checkpoint: dict[str, Any] | None = None
    not_before: datetime | None = None

    @property
    def finished(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")


_COLUMNS = (
    Run.id,
    Run.kind,
    Run.state,
    Run.arguments,
    Run.progress,
    Run.result,
    Run.error,
    Run.attempts,
    Run.created_at,
    Run.checkpoint,
    Run.not_before,
)


async def create(session: AsyncSession, kind: str, arguments: dict[str, Any]) -> uuid.UUID:
    statement = insert(Run).values(kind=kind, arguments=arguments).returning(Run.id)
    return (await session.execute(statement)).scalar_one()


async def request(session: AsyncSession, kind: str, source_id: int, **arguments: Any) -> tuple[uuid.UUID, bool]:
    """A run on a source, and whether it is new: one that waits for a worker already will do."""
    await session.execute(select(func.pg_advisory_xact_lock(REQUEST_LOCK, source_id % 2**31)))
    wanted = {"source": source_id, **arguments}
    return await _open_or_new(session, kind, wanted, Run.state == "queued", Run.arguments == wanted)


async def request_alone(session: AsyncSession, kind: str) -> tuple[uuid.UUID, bool]:
    """A run of a kind of which one at a time is enough, and whether it is new: none is asked for while one is open."""
    await session.execute(select(func.pg_advisory_xact_lock(REQUEST_LOCK, 0)))
    return await _open_or_new(session, kind, {}, Run.state.in_(("queued", "running")))


async def _open_or_new(
    session: AsyncSession, kind: str, arguments: dict[str, Any], *is_open: ColumnElement[bool]
) -> tuple[uuid.UUID, bool]:
    """One of the kind that will do, or a new one, and whether it is new. Called under a lock on such requests."""
    found = (await session.execute(select(Run.id).where(Run.kind == kind, *is_open).limit(1))).scalar_one_or_none()
    return (found, False) if found is not None else (await create(session, kind, arguments), True)


async def find(session: AsyncSession, run_id: uuid.UUID) -> RunRow | None:
    row = (await session.execute(select(*_COLUMNS).where(Run.id == run_id))).first()
    return None if row is None else RunRow(*row)


async def recent(session: AsyncSession, limit: int) -> list[RunRow]:
    rows = await session.execute(select(*_COLUMNS).order_by(Run.created_at.desc()).limit(limit))
    return [RunRow(*row) for row in rows]


async def by_prefix(session: AsyncSession, prefix: str) -> RunRow | None:
    """The newest run whose id begins so, with or without hyphens: people see eight characters of it."""
    wanted = prefix.replace("-", "")
    number = func.replace(cast(Run.id, Text), "-", "")
    statement = select(*_COLUMNS).where(number.startswith(wanted, autoescape=True)).order_by(Run.created_at.desc())
    row = (await session.execute(statement.limit(1))).first() if len(wanted) >= SHORTEST_PREFIX else None
    return None if row is None else RunRow(*row)


async def retry(session: AsyncSession, run_id: uuid.UUID) -> bool:
    """Queue a run that has failed once more, with all its attempts; False when it has not failed."""
    statement = update(Run).where(Run.id == run_id, Run.state.in_(("failed", "cancelled")))
    fresh = {
        "state": "queued", "attempts": 0, "stalled": 0, "error": None, "finished_at": None, "claimed_by": None,
        "not_before": None,
    }  # fmt: skip
    return (await session.execute(statement.values(**fresh).returning(Run.id))).scalar_one_or_none() is not None


async def cancel(session: AsyncSession, run_id: uuid.UUID) -> bool:
    """Give up a run that has not ended; whoever works on it stops at its next heartbeat. False when it has ended."""
    statement = update(Run).where(Run.id == run_id, Run.state.in_(("queued", "running")))
    ended = statement.values(state="cancelled", claimed_by=None, claimed_until=None, finished_at=func.now())
    return (await session.execute(ended.returning(Run.id))).scalar_one_or_none() is not None


async def claim(
    session: AsyncSession, run_id: uuid.UUID, owner: str, lease: timedelta, kinds: Sequence[str] = ()
) -> RunRow | None:
    """Take a run that nobody holds; None when it is finished, waits for its time or another kind of worker, or somebody
    works on it. ``kinds``: as ALMANAC_WORKER_KINDS says them."""
    due = and_(Run.state == "queued", or_(Run.not_before.is_(None), Run.not_before <= func.now()))
    free = or_(due, and_(Run.state == "running", Run.claimed_until < func.now()))
    statement = (
        update(Run)
        .where(Run.id == run_id, free, *_of(kinds))
        .values(
            state="running",
            claimed_by=owner,
            claimed_until=func.now() + lease,
            attempts=Run.attempts + 1,
            stalled=Run.stalled + 1,
            not_before=None,
            started_at=func.coalesce(Run.started_at, func.now()),
        )
        .returning(*_COLUMNS)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else RunRow(*row)


async def renew(
    session: AsyncSession, run_id: uuid.UUID, owner: str, lease: timedelta, progress: dict[str, Any]
) -> bool:
    """Extend the lease and publish the progress; False when the run is no longer ours."""
    statement = (
        update(Run)
        .where(Run.id == run_id, Run.claimed_by == owner, Run.state == "running")
        .values(claimed_until=func.now() + lease, progress=progress)
        .returning(Run.id)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def advance(
    session: AsyncSession, run_id: uuid.UUID, owner: str, progress: dict[str, Any], checkpoint: dict[str, Any] | None
) -> bool:
    """Say how far the run is, in the transaction of what it has done; False when the run is no longer ours.

    ``checkpoint`` None leaves the last one.
    """
    values: dict[str, Any] = {"progress": progress, "stalled": 0}
    if checkpoint is not None:
        values["checkpoint"] = checkpoint
    statement = update(Run).where(Run.id == run_id, Run.claimed_by == owner, Run.state == "running")
    return (await session.execute(statement.values(**values).returning(Run.id))).scalar_one_or_none() is not None


async def postpone(session: AsyncSession, run_id: uuid.UUID, owner: str, delay: timedelta) -> None:
    """Put a run back because it cannot begin yet; this was no attempt."""
    values = {
        "state": "queued", "claimed_by": None, "claimed_until": None, "not_before": func.now() + delay,
        "attempts": func.greatest(Run.attempts - 1, 0), "stalled": func.greatest(Run.stalled - 1, 0),
    }  # fmt: skip
    await session.execute(update(Run).where(Run.id == run_id, Run.claimed_by == owner).values(**values))


async def succeed(
    session: AsyncSession, run_id: uuid.UUID, owner: str, progress: dict[str, Any], result: dict[str, Any]
) -> None:
    await _finish(session, run_id, owner, state="succeeded", progress=progress, result=result, error=None)


async def fail(session: AsyncSession, run_id: uuid.UUID, owner: str, error: str) -> None:
    await _finish(session, run_id, owner, state="failed", error=error)


async def release(
    session: AsyncSession, run_id: uuid.UUID, owner: str, error: str, delay: timedelta = timedelta()
) -> None:
    """Put a run back in the queue after a transient failure; past the last attempt it has failed."""
    last = Run.stalled >= MAX_ATTEMPTS
    values = {
        "state": case((last, "failed"), else_="queued"), "finished_at": case((last, func.now()), else_=None),
        "claimed_by": None, "claimed_until": None, "error": error, "not_before": func.now() + delay,
    }  # fmt: skip
    await session.execute(update(Run).where(Run.id == run_id, Run.claimed_by == owner).values(**values))


async def give_up_exhausted(session: AsyncSession) -> list[uuid.UUID]:
    """Close the runs that took their process with them at every attempt."""
    abandoned = and_(Run.state == "running", Run.claimed_until < func.now())
    error = f"The worker died at each of {MAX_ATTEMPTS} attempts; its log says more."
    statement = update(Run).where(abandoned, Run.stalled >= MAX_ATTEMPTS).returning(Run.id)
    closed = statement.values(state="failed", error=error, claimed_until=None, finished_at=func.now())
    return list((await session.execute(closed)).scalars())


async def waiting(session: AsyncSession, kinds: Sequence[str] = ()) -> list[uuid.UUID]:
    """Runs of these kinds that nobody works on and whose time has come: queued, or left behind by one that died."""
    abandoned = and_(Run.state == "running", Run.claimed_until < func.now())
    due = and_(Run.state == "queued", or_(Run.not_before.is_(None), Run.not_before <= func.now()))
    statement = select(Run.id).where(or_(due, abandoned), *_of(kinds)).order_by(Run.created_at)
    return list((await session.execute(statement)).scalars())


def _of(kinds: Sequence[str]) -> list[ColumnElement[bool]]:
    """That a run is of these kinds; of any, where none are named; of any but those with a ``!`` before."""
    without = [kind[1:] for kind in kinds if kind.startswith("!")]
    if without:
        return [Run.kind.not_in(without)]
    return [Run.kind.in_(kinds)] if kinds else []


async def _finish(session: AsyncSession, run_id: uuid.UUID, owner: str, **values: Any) -> None:
    statement = update(Run).where(Run.id == run_id, Run.claimed_by == owner)
    await session.execute(statement.values(**values, claimed_until=None, finished_at=func.now()))
