"""What the administrators' page shows beside ``insights``: people, refusals, runs, the audit, and names."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database.evaluations import Open
from assistant.database.insights import asked
from assistant.database.tables import Answer, Audit, Run, Source, Vote

REFUSED = (Outcome.REFUSED.value, Outcome.OVER_LIMIT.value)


async def people(session: AsyncSession, since: datetime) -> int:
    """How many asked something."""
    return (await session.execute(select(func.count(func.distinct(Answer.asker))).where(*asked(since)))).scalar_one()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question that the guard or a limit turned away. Who asked is left out."""

    id: uuid.UUID
    at: datetime
    question: str
    outcome: str
    platform: str


async def refusals(
    session: AsyncSession, since: datetime, limit: int, before: uuid.UUID | None = None
) -> list[Refusal]:
    """The newest first, from the one after ``before`` on. Private ones stay out."""
    columns = (Answer.id, Answer.created_at, Answer.question, Answer.outcome, Answer.platform)
    statement = select(*columns).where(*asked(since), Answer.outcome.in_(REFUSED), ~Answer.private)
    if before is not None:
        statement = statement.where(_older(Answer, before))
    ordered = statement.order_by(Answer.created_at.desc(), Answer.id.desc()).limit(limit)
    return [Refusal(*row) for row in await session.execute(ordered)]


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody whose questions were turned away, by outcome."""

    person: str
    refused: int
    over_limit: int


async def refused_people(session: AsyncSession, since: datetime, limit: int = 10) -> list[Refused]:
    """Those who were turned away most often."""
    by_guard, by_limit = (func.count().filter(Answer.outcome == outcome) for outcome in REFUSED)
    statement = (
        select(Answer.asker, by_guard, by_limit)
        .where(*asked(since), Answer.outcome.in_(REFUSED))
        .group_by(Answer.asker)
        .order_by(func.count().desc(), Answer.asker)
        .limit(limit)
    )
    return [Refused(*row) for row in await session.execute(statement)]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as people see it. ``source``: the name of the one it works on; None where it is of none, or gone."""

    id: uuid.UUID
    kind: str
    state: str
    progress: dict[str, Any]
    error: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    source: str | None


async def runs(session: AsyncSession, limit: int, before: uuid.UUID | None = None) -> list[RunSummary]:
    """The newest first, from the one after ``before`` on."""
    name = select(Source.name).where(Run.arguments["source"].as_integer() == Source.id).scalar_subquery()
    columns = (
        Run.id, Run.kind, Run.state, Run.progress, Run.error, Run.attempts, Run.created_at, Run.started_at,
        Run.finished_at, Run.not_before, name,
    )  # fmt: skip
    statement = select(*columns)
    if before is not None:
        statement = statement.where(_older(Run, before))
    ordered = statement.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit)
    return [RunSummary(*row) for row in await session.execute(ordered)]


@dataclass(frozen=True, slots=True)
class AuditRow:
    id: int
    at: datetime
    person: str
    platform: str
    action: str
    target: str
    details: dict[str, Any]


async def audited(session: AsyncSession, limit: int, before: int | None = None) -> list[AuditRow]:
    """The newest first, from the one after ``before`` on."""
    columns = (Audit.id, Audit.at, Audit.person, Audit.platform, Audit.action, Audit.target, Audit.details)
    statement = select(*columns)
    if before is not None:
        statement = statement.where(Audit.id < before)
    return [AuditRow(*row) for row in await session.execute(statement.order_by(Audit.id.desc()).limit(limit))]


async def names_of(session: AsyncSession, people: Iterable[str]) -> dict[str, str]:
    """What people are called, as far as their last questions tell."""
    statement = (
        select(Answer.asker, Answer.asker_name)
        .ext(distinct_on(Answer.asker))
        .where(Answer.asker.in_(set(people)), Answer.asker_name != "")
        .order_by(Answer.asker, Answer.created_at.desc())
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def private_among(session: AsyncSession, answer_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    statement = select(Answer.id).where(Answer.id.in_(answer_ids), Answer.private)
    return set((await session.execute(statement)).scalars())


async def as_open(session: AsyncSession, answer_ids: Sequence[uuid.UUID]) -> list[Open]:
    """These questions as what cases are made of; private ones and those taken back are left out."""
    up, down = (func.count(Vote.person).filter(Vote.value == value) for value in (1, -1))
    statement = (
        select(Answer.id, Answer.question, Answer.outcome, Answer.citations, up, down, Answer.created_at)
        .outerjoin(Vote, Vote.answer_id == Answer.id)
        .where(Answer.id.in_(answer_ids), ~Answer.private, Answer.withdrawn_at.is_(None))
        .group_by(Answer.id)
        .order_by(Answer.created_at.desc())
    )
    return [
        Open(row[0], row[1], row[2], tuple(dict.fromkeys(item["external_id"] for item in row[3])), *row[4:])
        for row in await session.execute(statement)
    ]


def _older(table: type[Answer] | type[Run], than: uuid.UUID) -> Any:
    """Rows that come after the named one in a list whose newest stand first."""
    place = select(table.created_at, table.id).where(table.id == than).subquery()
    return tuple_(table.created_at, table.id) < select(place.c.created_at, place.c.id).scalar_subquery()
