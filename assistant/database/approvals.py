"""Calls that wait for somebody's word, and what became of them. Every change of state is made under the row's lock."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Text, cast, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Answer, Inbox
from assistant.database.tables_tools import Approval as Row
from assistant.database.tables_tools import ToolCall

OPEN = ("waiting", "running")
FRESH = timedelta(days=2)  # cards of older ones are left as they are


@dataclass(frozen=True, slots=True)
class Approval:
    """A call as it was proposed, and how it stands.

    ``state``: ``waiting``; ``running``; ``done``, or ``failed`` (the tool said no); ``denied``; ``expired``; ``void``
    (what was to be approved is no more what was proposed); ``unknown`` (it was sent, and nobody knows what came of it).
    ``arguments_hash`` binds a decision to this very call. ``caller`` is whom the call is made as (``as``), all that
    they are known as, and the ``order`` in which the tool lists the arguments.
    """

    id: uuid.UUID
    origin: uuid.UUID
    answer_id: uuid.UUID | None
    platform: str
    conversation: str
    place: str
    requester: str
    requester_name: str
    language: str
    tool: str
    source: str
    title: str
    call: str
    arguments: Mapping[str, Any]
    arguments_hash: str
    definition_hash: str
    approvers: tuple[str, ...]
    caller: Mapping[str, Any]
    state: str
    reason: str | None
    expires_at: datetime
    decided_by: str | None
    decided_name: str
    decided_at: datetime | None
    running_until: datetime | None
    attempts: int
    before: Mapping[str, Any] | None
    result: Mapping[str, Any] | None
    cards: tuple[Mapping[str, Any], ...]
    created_at: datetime
    finished_at: datetime | None

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def number(self) -> str:
        """What people call it by."""
        return self.id.hex[:8]


@dataclass(frozen=True, slots=True)
class Standing:
    """An approval under its lock, with what only the database can say of it now."""

    approval: Approval
    late: bool  # its time is up
    overdue: bool  # it has been running for longer than a call takes
    withdrawn: bool  # its question was deleted, edited or asked again


_COLUMNS = tuple(Row.__table__.columns)
_WITHDRAWN: ColumnElement[bool] = or_(
    exists().where(Answer.id == Row.answer_id, Answer.withdrawn_at.is_not(None)),
    exists().where(Inbox.id == Row.origin, Inbox.state == "cancelled"),
)


async def propose(session: AsyncSession, values: Mapping[str, Any], lasts: timedelta) -> tuple[Approval, bool]:
    """Keep a proposal; the one that is there, and False, where the same question has proposed the same call before."""
    new = insert(Row).values(**values, expires_at=func.now() + lasts)
    statement = new.on_conflict_do_update(
        index_elements=[Row.origin, Row.call_hash],
        set_={"answer_id": func.coalesce(new.excluded.answer_id, Row.answer_id)},
    ).returning(*_COLUMNS)
    found = _approval((await session.execute(statement)).mappings().one())
    return found, found.id == values["id"]


async def find(session: AsyncSession, approval_id: uuid.UUID) -> Approval | None:
    return await _one(session, select(*_COLUMNS).where(Row.id == approval_id))


async def by_prefix(session: AsyncSession, prefix: str) -> Approval | None:
    """The one whose id begins so; None where there is none, or several."""
    if len(prefix) < 4 or not all(letter in "0123456789abcdef-" for letter in prefix):
        return None
    matches = func.replace(cast(Row.id, Text), "-", "").startswith(prefix.replace("-", ""), autoescape=True)
    rows = (await session.execute(select(*_COLUMNS).where(matches).limit(2))).mappings().all()
    return _approval(rows[0]) if len(rows) == 1 else None


async def lock(session: AsyncSession, approval_id: uuid.UUID) -> Standing | None:
    """The row, held until the transaction ends."""
    statement = (
        select(
            *_COLUMNS, (Row.expires_at <= func.now()).label("late"),
            func.coalesce(Row.running_until <= func.now(), True).label("overdue"), _WITHDRAWN.label("withdrawn"),
        )
        .where(Row.id == approval_id)
        .with_for_update(of=Row)
    )  # fmt: skip
    row = (await session.execute(statement)).mappings().first()
    return None if row is None else Standing(_approval(row), row["late"], row["overdue"], row["withdrawn"])


async def change(session: AsyncSession, approval_id: uuid.UUID, **values: Any) -> Approval:
    """Set columns of a row that is locked, or about to be."""
    statement = update(Row).where(Row.id == approval_id).values(**values).returning(*_COLUMNS)
    return _approval((await session.execute(statement)).mappings().one())


async def waiting(session: AsyncSession, limit: int = 100) -> list[Approval]:
    """Those that somebody can still decide about, the oldest first."""
    statement = select(*_COLUMNS).where(Row.state == "waiting", Row.expires_at > func.now(), ~_WITHDRAWN)
    return await _all(session, statement.order_by(Row.created_at).limit(limit))


async def recent(session: AsyncSession, limit: int = 20) -> list[Approval]:
    return await _all(session, select(*_COLUMNS).order_by(Row.created_at.desc()).limit(limit))


async def of_answers(session: AsyncSession, answer_ids: Sequence[uuid.UUID]) -> list[Approval]:
    statement = select(*_COLUMNS).where(Row.answer_id.in_(answer_ids))
    return await _all(session, statement.order_by(Row.created_at))


async def due(session: AsyncSession, limit: int = 100) -> list[uuid.UUID]:
    """Those that cannot stay as they are: out of time, withdrawn, or running for longer than a call takes."""
    statement = (
        select(Row.id)
        .where(
            Row.state.in_(OPEN),
            or_(
                (Row.state == "waiting") & ((Row.expires_at <= func.now()) | _WITHDRAWN),
                (Row.state == "running") & (Row.running_until <= func.now()),
            ),
        )
        .order_by(Row.expires_at)
        .limit(limit)
    )
    return list((await session.execute(statement)).scalars())


async def record_call(session: AsyncSession, **values: Any) -> None:
    """Keep that a tool was called, and how it went: the columns of ``ToolCall``."""
    await session.execute(insert(ToolCall).values(**values))


# the messages that show it


async def keep_card(session: AsyncSession, approval_id: uuid.UUID, card: Mapping[str, Any]) -> None:
    """Remember a message that shows it. ``card``: ``platform``, ``state`` (as shown), and the platform's own names."""
    standing = await lock(session, approval_id)
    if standing is None:
        return
    others = [kept for kept in standing.approval.cards if _name(kept) != _name(card)]
    await change(session, approval_id, cards=[*others, dict(card)])


async def out_of_date(session: AsyncSession, platform: str, limit: int = 50) -> list[Approval]:
    """Those of which a message on the platform shows another state than theirs."""
    stale = text(
        "EXISTS (SELECT 1 FROM jsonb_array_elements(approvals.cards) AS card"
        " WHERE card ->> 'platform' = :platform AND card ->> 'state' <> approvals.state)"
    ).bindparams(platform=platform)
    statement = select(*_COLUMNS).where(Row.created_at > func.now() - FRESH, stale)
    return await _all(session, statement.order_by(Row.created_at).limit(limit))


def _name(card: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key != "state"}


async def _one(session: AsyncSession, statement: Select[Any]) -> Approval | None:
    row = (await session.execute(statement)).mappings().first()
    return None if row is None else _approval(row)


async def _all(session: AsyncSession, statement: Select[Any]) -> list[Approval]:
    return [_approval(row) for row in (await session.execute(statement)).mappings()]


def _approval(row: RowMapping) -> Approval:
    values = {column.name: row[column.name] for column in _COLUMNS}
    values["arguments_hash"] = values.pop("call_hash")
    return Approval(**{**values, "approvers": tuple(values["approvers"]), "cards": tuple(values["cards"])})
