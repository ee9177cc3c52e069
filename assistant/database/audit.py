"""Who did what, when. Rows are only ever added, in the transaction of what they tell about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Audit


@dataclass(frozen=True, slots=True)
class Entry:
    at: datetime
    person: str
    platform: str
    action: str
    target: str
    details: dict[str, Any]


async def record(
    session: AsyncSession,
    person: str,
    platform: str,
    action: str,
    target: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """``action`` is the command's name, such as ``sources remove``; ``target`` what it was done to."""
    row = {"person": person, "platform": platform, "action": action, "target": target, "details": dict(details or {})}
    await session.execute(insert(Audit).values(**row))


async def record_once(
    session: AsyncSession, person: str, platform: str, action: str, target: str, details: Mapping[str, Any]
) -> None:
    """The same for what may be tried again: an equal row that is there is left alone."""
    same = (Audit.person == person, Audit.platform == platform, Audit.action == action, Audit.target == target)
    known = select(Audit.id).where(*same, Audit.details == dict(details)).limit(1)
    if (await session.execute(known)).first() is None:
        await record(session, person, platform, action, target, details)


async def recent(session: AsyncSession, limit: int = 20) -> list[Entry]:
    columns = (Audit.at, Audit.person, Audit.platform, Audit.action, Audit.target, Audit.details)
    return [Entry(*row) for row in await session.execute(select(*columns).order_by(Audit.id.desc()).limit(limit))]
