"""Votes as there is something to learn from them, and how people took the answers of a version that was tried."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database.evaluations import PLATFORM
from assistant.database.tables import Answer, Vote


@dataclass(frozen=True, slots=True)
class Voted:
    """A vote, with the answer that it is about. ``retrieval``: what had been found, as it was kept. ``private``: the
    answer was for the asker alone."""

    answer_id: uuid.UUID
    person: str
    value: int
    reason: str | None
    at: datetime
    question: str
    audience: list[str]
    conversation: str
    retrieval: list[dict[str, Any]]
    cited: list[int]  # chunks
    searched: dict[str, Any] | None
    private: bool = False


async def voted(session: AsyncSession) -> list[Voted]:
    """The votes that there is something to learn from, oldest first: on answers that were given and not taken back."""
    statement = (
        select(
            Vote.answer_id, Vote.person, Vote.value, Vote.reason, Vote.updated_at, Answer.question, Answer.audience,
            Answer.conversation, Vote.retrieval, Answer.citations, Answer.searched, Answer.private,
        )
        .join(Answer, Answer.id == Vote.answer_id)
        .where(
            Answer.outcome == Outcome.ANSWERED.value, Answer.withdrawn_at.is_(None), Answer.platform != PLATFORM,
            func.jsonb_array_length(Vote.retrieval) > 0,
        )
        .order_by(Vote.updated_at, Vote.answer_id, Vote.person)
    )  # fmt: skip
    return [
        Voted(
            row.answer_id, row.person, row.value, row.reason, row.updated_at, row.question, row.audience,
            row.conversation, row.retrieval, [one["chunk_id"] for one in row.citations], row.searched,
            row.private,
        )
        for row in await session.execute(statement)
    ]  # fmt: skip


async def asked_lately(session: AsyncSession, limit: int) -> list[tuple[str, list[str], dict[str, Any] | None]]:
    """The last questions that were answered, each once, newest first: their words, audience and search; none whose
    answer was for the asker alone."""
    newest = (
        select(Answer.question, Answer.audience, Answer.searched, Answer.created_at)
        .where(
            Answer.outcome == Outcome.ANSWERED.value, Answer.withdrawn_at.is_(None), Answer.platform != PLATFORM,
            func.jsonb_array_length(Answer.retrieval) > 0, ~Answer.private,
        )
        .ext(distinct_on(Answer.question))
        .order_by(Answer.question, Answer.created_at.desc())
        .subquery()
    )  # fmt: skip
    statement = select(newest.c.question, newest.c.audience, newest.c.searched).order_by(newest.c.created_at.desc())
    return [(row[0], row[1], row[2]) for row in await session.execute(statement.limit(limit))]


@dataclass(frozen=True, slots=True)
class Arm:
    """Answers of a part of the conversations while a canary was tried, and the thumbs on them."""

    arm: str  # canary, control
    answers: int
    up: int
    down: int


async def arms(session: AsyncSession, number: int, since: datetime | None = None) -> list[Arm]:
    """How people took the answers while this version was tried on a share of them."""
    arm = Answer.searched["arm"].astext
    statement = (
        select(
            arm, func.count(Answer.id.distinct()), func.count().filter(Vote.value > 0),
            func.count().filter(Vote.value < 0),
        )
        .outerjoin(Vote, Vote.answer_id == Answer.id)
        .where(*_while_tried(number, since))
        .group_by(arm)
        .order_by(arm)
    )  # fmt: skip
    return [Arm(*row) for row in await session.execute(statement)]


@dataclass(frozen=True, slots=True)
class Thumb:
    """The first vote of a conversation, which tried the version (``tried``) with a chance of ``share``, 0..1."""

    tried: bool
    share: float
    up: bool
    voter: str


async def first_thumbs(session: AsyncSession, number: int, since: datetime) -> list[Thumb]:
    """The first vote of each conversation on an answer given ``since`` then, while this version was tried; oldest
    first."""
    first = (
        select(
            (Answer.searched["arm"].astext == "canary").label("tried"),
            Answer.searched["share"].as_float().label("share"), Vote.value, Vote.person, Vote.created_at, Answer.id,
        )
        .join(Vote, Vote.answer_id == Answer.id)
        .where(*_while_tried(number, since), Answer.searched["share"].as_float() > 0, Answer.platform != PLATFORM)
        .ext(distinct_on(Answer.platform, Answer.conversation))
        .order_by(Answer.platform, Answer.conversation, Vote.created_at, Answer.id, Vote.person)
        .subquery()
    )  # fmt: skip
    found = await session.execute(select(first).order_by(first.c.created_at, first.c.id, first.c.person))
    return [Thumb(row.tried, row.share, row.value > 0, row.person) for row in found]


def _while_tried(number: int, since: datetime | None) -> list[ColumnElement[bool]]:
    told = [Answer.searched["canary"].as_integer() == number, Answer.outcome == Outcome.ANSWERED.value]
    return told if since is None else [*told, Answer.created_at >= since]


async def since(session: AsyncSession, when: datetime | None) -> int:
    statement = select(func.count()).select_from(Vote).where(true() if when is None else Vote.updated_at > when)
    return (await session.execute(statement)).scalar_one()
