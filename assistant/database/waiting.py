"""What waits, for how long, and what became of proposed changes: for the metrics."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.inbox import OPEN
from assistant.database.tables import Inbox, Run, Source
from assistant.database.tables_tools import Approval


async def ages(session: AsyncSession) -> dict[str, float]:
    """Seconds that the oldest work has waited: of events by platform, and of runs that could be taken up."""

    def waited(since: Any) -> Any:
        return func.coalesce(func.extract("epoch", func.now() - func.min(since)), 0.0)

    events = select(Inbox.platform, waited(Inbox.received_at)).where(Inbox.state.in_(OPEN)).group_by(Inbox.platform)
    found = {f"inbox_{platform}": float(seconds) for platform, seconds in await session.execute(events)}
    may_start = or_(Run.not_before.is_(None), Run.not_before <= func.now())
    runs = select(waited(func.greatest(Run.created_at, func.coalesce(Run.not_before, Run.created_at))))
    oldest = await session.execute(runs.where(Run.state == "queued", may_start))
    return {**found, "runs": float(oldest.scalar_one())}


async def events(session: AsyncSession) -> dict[str, int]:
    """Events that could be taken now, by platform. What somebody works on, or is put off, does not wait for anybody."""
    free = or_(Inbox.claimed_until.is_(None), Inbox.claimed_until < func.now())
    statement = select(Inbox.platform, func.count()).where(Inbox.state.in_(OPEN), free).group_by(Inbox.platform)
    return {platform: count for platform, count in await session.execute(statement)}  # noqa: C416 - as below


async def failed_syncs(session: AsyncSession) -> dict[str, int]:
    """How many syncs in a row failed, by the source's number and name."""
    rows = await session.execute(select(Source.id, Source.name, Source.failed_syncs))
    return {f"{number} {name}": failed for number, name, failed in rows}


async def approvals(session: AsyncSession) -> dict[str, int]:
    """Proposed changes of the last day, by state."""
    recent = Approval.created_at > func.now() - timedelta(days=1)
    rows = await session.execute(select(Approval.state, func.count()).where(recent).group_by(Approval.state))
    return {state: count for state, count in rows}  # noqa: C416 - rows are not pairs to a type checker
