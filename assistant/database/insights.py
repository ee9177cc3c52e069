"""How Almanac does over a span of days, for administrators: questions, outcomes, satisfaction, latency, sources."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Date, Float, Text, case, cast, column, func, literal, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database.evaluations import PLATFORM
from assistant.database.tables import Answer, Vote

UNANSWERED = (Outcome.NOT_IN_DOCUMENTS.value, Outcome.HIDDEN_BY_PERMISSIONS.value)
QUANTILES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Day:
    """Counts of one day. ``outcomes``: outcome -> questions."""

    day: date
    questions: int
    people: int
    up: int
    down: int
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one stage, over the questions that went through it."""

    stage: str
    questions: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Count:
    name: str
    questions: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that the documents did not answer, or whose answer somebody voted down."""

    answer_id: uuid.UUID
    at: datetime
    question: str
    outcome: str
    voted_down: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Cited:
    """A document, and in how many answers it was cited; of these, how many were voted up and down."""

    document_id: int
    title: str
    url: str | None
    answers: int
    up: int
    down: int


def asked(since: datetime) -> tuple[Any, ...]:
    """Questions that were put to us and that count: not asked again, not taken back, not overheard in silence, and not
    asked to measure."""
    heard = ~Answer.unprompted | (Answer.outcome == Outcome.ANSWERED.value)
    return (Answer.created_at >= since, Answer.withdrawn_at.is_(None), Answer.platform != PLATFORM, heard)


async def days(session: AsyncSession, since: datetime, zone: str = "UTC") -> list[Day]:
    """Every day from ``since`` on that had questions, oldest first. ``zone`` says when a day begins."""
    return await _slots(session, since, cast(func.timezone(zone, Answer.created_at), Date))


async def hours(session: AsyncSession, since: datetime, zone: str = "UTC") -> list[Day]:
    """The same by hour: ``day`` is a datetime, told in the zone and without it."""
    return await _slots(session, since, func.date_trunc("hour", func.timezone(zone, Answer.created_at)))


async def _slots(session: AsyncSession, since: datetime, slot: ColumnElement[Any]) -> list[Day]:
    counts = select(slot, Answer.outcome, func.count()).where(*asked(since)).group_by(text("1"), Answer.outcome)
    people = select(slot, func.count(func.distinct(Answer.asker))).where(*asked(since)).group_by(text("1"))
    voted = (
        select(slot, func.count().filter(Vote.value > 0), func.count().filter(Vote.value < 0))
        .join(Vote, Vote.answer_id == Answer.id)
        .where(*asked(since))
        .group_by(text("1"))
    )
    outcomes: dict[date, dict[str, int]] = {}
    for when, outcome, number in await session.execute(counts):
        outcomes.setdefault(when, {})[outcome] = number
    askers: dict[date, int] = {row[0]: row[1] for row in await session.execute(people)}
    thumbs = {when: (up, down) for when, up, down in await session.execute(voted)}
    return [
        Day(when, sum(found.values()), askers.get(when, 0), *thumbs.get(when, (0, 0)), found)
        for when, found in sorted(outcomes.items())
    ]


async def latencies(session: AsyncSession, since: datetime) -> list[Latency]:
    """Each stage that answers tell of, the slowest (by median) first."""
    stages = func.jsonb_each_text(Answer.timings_ms).table_valued(column("key", Text), column("value", Text))
    milliseconds = cast(stages.c.value, Float)
    quantile = [func.percentile_cont(share).within_group(milliseconds) for share in QUANTILES]
    statement = (
        select(stages.c.key, func.count(), *quantile)
        .select_from(Answer)
        .join(stages, true())
        .where(*asked(since))
        .group_by(stages.c.key)
        .order_by(quantile[0].desc(), stages.c.key)
    )
    return [
        Latency(stage, number, round(p50, 1), round(p95, 1))
        for stage, number, p50, p95 in await session.execute(statement)
    ]


async def platforms(session: AsyncSession, since: datetime) -> list[Count]:
    counted = select(Answer.platform, func.count()).where(*asked(since)).group_by(Answer.platform)
    statement = counted.order_by(func.count().desc(), Answer.platform)
    return [Count(*row) for row in await session.execute(statement)]


async def unanswered(session: AsyncSession, since: datetime, limit: int = 500) -> list[Unanswered]:
    """The newest first. Private answers stay out: what they are about was not for everybody's eyes."""
    down = (
        select(Vote.answer_id, func.max(Vote.reason).label("reason"))
        .where(Vote.value < 0)
        .group_by(Vote.answer_id)
        .subquery()
    )
    statement = (
        select(
            Answer.id, Answer.created_at, Answer.question, Answer.outcome, down.c.answer_id.isnot(None), down.c.reason
        )
        .outerjoin(down, down.c.answer_id == Answer.id)
        .where(*asked(since), ~Answer.private)
        .where(Answer.outcome.in_(UNANSWERED) | down.c.answer_id.isnot(None))
        .order_by(Answer.created_at.desc(), Answer.id)
        .limit(limit)
    )
    return [Unanswered(*row) for row in await session.execute(statement)]


async def cited(session: AsyncSession, since: datetime, limit: int = 10) -> list[Cited]:
    """The documents that answers rest on most. Titles are those that the answers showed."""
    item = func.jsonb_array_elements(Answer.citations).table_valued(column("value", Answer.citations.type))
    number = cast(item.c.value["document_id"].astext, Float)
    once = (
        select(
            Answer.id.label("answer"), number.label("document"),
            func.max(item.c.value["title"].astext).label("title"), func.max(item.c.value["url"].astext).label("url"),
        )
        .select_from(Answer)
        .join(item, true())
        .where(*asked(since), ~Answer.private)
        .group_by(Answer.id, number)
        .subquery()
    )  # fmt: skip
    thumbs = select(
        Vote.answer_id,
        func.sum(case((Vote.value > 0, 1), else_=0)).label("up"),
        func.sum(case((Vote.value < 0, 1), else_=0)).label("down"),
    ).group_by(Vote.answer_id).subquery()  # fmt: skip
    answers = func.count().label("answers")
    statement = (
        select(
            once.c.document, func.max(once.c.title), func.max(once.c.url), answers,
            func.coalesce(func.sum(thumbs.c.up), literal(0)), func.coalesce(func.sum(thumbs.c.down), literal(0)),
        )
        .outerjoin(thumbs, thumbs.c.answer_id == once.c.answer)
        .group_by(once.c.document)
        .order_by(answers.desc(), once.c.document)
        .limit(limit)
    )  # fmt: skip
    return [
        Cited(int(row[0]), row[1], row[2], row[3], int(row[4]), int(row[5])) for row in await session.execute(statement)
    ]


def first_day(days_back: int, now: datetime) -> datetime:
    """Midnight of the first of ``days_back`` days, today among them."""
    return (now - timedelta(days=days_back - 1)).replace(hour=0, minute=0, second=0, microsecond=0)


def total(found: Sequence[Day]) -> dict[str, int]:
    """Outcome -> questions, over all the days."""
    sums: dict[str, int] = {}
    for day in found:
        for outcome, number in day.outcomes.items():
            sums[outcome] = sums.get(outcome, 0) + number
    return sums
