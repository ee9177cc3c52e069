"""The inbox: events stored before they are acknowledged, claimed under a lease, answered once.

A process that dies loses its lease, and another picks the event up. Before anything is sent the claim is checked
again (``holds``), so a process that was only slow sends nothing after it lost the event.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Answer, Inbox

OPEN = ("received", "working")


@dataclass(frozen=True, slots=True)
class Event:
    """One stored event. ``attempts`` counts claims, this one included."""

    id: uuid.UUID
    platform: str
    event_id: str
    message_key: str
    payload: dict[str, Any]
    attempts: int
    reply: dict[str, Any] | None


async def store(session: AsyncSession, platform: str, event_id: str, message_key: str, payload: dict[str, Any]) -> bool:
    """Store an event; False when it, or another event for the same message, is already there."""
    named = {"event_id": storable(event_id), "message_key": storable(message_key)}
    statement = (
        insert(Inbox)
        .values(platform=platform, **named, payload=storable(payload))
        .on_conflict_do_nothing()
        .returning(Inbox.id)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


def storable(value: Any) -> Any:
    """JSON without what Postgres cannot hold, and JSON can: NUL, and halves of characters. An event that is not stored
    for them is never answered, however often it is delivered."""
    if isinstance(value, str):
        return (
            value if value.isascii() and "\0" not in value else value.replace("\0", "").encode(errors="ignore").decode()
        )
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list | tuple) else value


async def claim(session: AsyncSession, platform: str, owner: str, lease: timedelta, limit: int) -> list[Event]:
    """Take up to ``limit`` open events that nobody holds, oldest first."""
    free = or_(Inbox.claimed_until.is_(None), Inbox.claimed_until < func.now())
    ids = (
        select(Inbox.id)
        .where(Inbox.platform == platform, Inbox.state.in_(OPEN), free)
        .order_by(Inbox.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    free_ids = ids.cte("free")  # a CTE, so that the limited, locking select runs once
    statement = (
        update(Inbox)
        .where(Inbox.id.in_(select(free_ids.c.id)))
        .values(state="working", claimed_by=owner, claimed_until=func.now() + lease, attempts=Inbox.attempts + 1)
        .returning(
            Inbox.id, Inbox.platform, Inbox.event_id, Inbox.message_key, Inbox.payload, Inbox.attempts, Inbox.reply
        )
    )
    return [Event(*row) for row in await session.execute(statement)]


async def renew(session: AsyncSession, event_ids: Sequence[uuid.UUID], owner: str, lease: timedelta) -> None:
    """Extend the leases of the events that are being worked on; the others run out."""
    statement = update(Inbox).where(Inbox.id.in_(event_ids), _held_by(owner))
    statement = statement.values(claimed_until=func.now() + lease)
    await session.execute(statement)


async def release(session: AsyncSession, owner: str) -> None:
    """Give back what this process still holds, so that another need not wait for the lease to end."""
    await session.execute(update(Inbox).where(_held_by(owner)).values(claimed_until=None, claimed_by=None))


async def holds(session: AsyncSession, event_id: uuid.UUID, owner: str) -> bool:
    """Whether the claim is still ours, asked just before something visible is done."""
    statement = select(Inbox.id).where(Inbox.id == event_id, _held_by(owner), Inbox.claimed_until > func.now())
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def remember_reply(session: AsyncSession, event_id: uuid.UUID, reply: dict[str, Any]) -> None:
    """Keep the platform's id of what was sent, so that a later attempt updates it instead of sending again."""
    await session.execute(update(Inbox).where(Inbox.id == event_id).values(reply=reply))


async def finish(
    session: AsyncSession, event_id: uuid.UUID, owner: str, reply: dict[str, Any] | None, error: str | None
) -> None:
    """Close an event that is ours: ``done``, or ``failed`` when the platform refused every attempt."""
    values: dict[str, Any] = {"state": "failed" if error else "done", "error": error, "done_at": func.now()}
    if reply is not None:
        values["reply"] = reply
    statement = update(Inbox).where(Inbox.id == event_id, _held_by(owner))
    await session.execute(statement.values(**values, claimed_until=None))


async def retry_later(session: AsyncSession, event_id: uuid.UUID, owner: str, delay: timedelta, error: str) -> None:
    """Leave an event of ours open, and let nobody take it before ``delay`` has passed."""
    statement = update(Inbox).where(Inbox.id == event_id, _held_by(owner))
    await session.execute(statement.values(claimed_by=None, claimed_until=func.now() + delay, error=error))


async def cancel(session: AsyncSession, platform: str, message_key: str) -> uuid.UUID | None:
    """Close an open event whose message was taken back; its id, or None when nothing was open."""
    mine = (Inbox.platform == platform, Inbox.message_key == message_key, Inbox.state.in_(OPEN))
    statement = update(Inbox).where(*mine).values(state="cancelled", claimed_until=None, done_at=func.now())
    return (await session.execute(statement.returning(Inbox.id))).scalar_one_or_none()


@dataclass(frozen=True, slots=True)
class Reply:
    """``sent``: what the front end stored of its messages. ``payload``: the event as it came."""

    event_id: uuid.UUID
    state: str
    payload: dict[str, Any]
    sent: dict[str, Any] | None
    answer_id: uuid.UUID | None


async def reply_of(session: AsyncSession, platform: str, message_key: str) -> Reply | None:
    statement = (
        select(Inbox.id, Inbox.state, Inbox.payload, Inbox.reply, Answer.id)
        .outerjoin(Answer, Answer.inbox_id == Inbox.id)
        .where(Inbox.platform == platform, Inbox.message_key == message_key)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else Reply(*row)


async def open_events(session: AsyncSession) -> dict[str, int]:
    """Open events by platform, for the metrics."""
    rows = await session.execute(
        select(Inbox.platform, func.count()).where(Inbox.state.in_(OPEN)).group_by(Inbox.platform)
    )
    return {platform: count for platform, count in rows}  # noqa: C416 - rows are not pairs to a type checker


def _held_by(owner: str) -> Any:
    return and_(Inbox.claimed_by == owner, Inbox.state == "working")
