"""What a person sees on the home page of the bot: what is known, what they asked; for administrators, how it goes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, case, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database import status
from assistant.database.session import admit
from assistant.database.tables import Answer, Document, DocumentFailure, Source, Vote
from assistant.knowledge.audience import Audience

QUESTIONS = 5
UNANSWERED = 10
UNANSWERED_AS = (Outcome.NOT_IN_DOCUMENTS.value, Outcome.HIDDEN_BY_PERMISSIONS.value)


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source with how many documents somebody may read of it. ``synced_at``: when it was last read to its end, else
    its ``newest`` readable document."""

    id: int
    name: str
    kind: str
    documents: int
    synced_at: datetime | None
    newest: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    at: datetime
    question: str
    outcome: str
    answer_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class PersonView:
    """Counts are of what the person may read."""

    sources: list[SourceView]
    questions: list[Asked]

    @property
    def documents(self) -> int:
        return sum(source.documents for source in self.sources)


@dataclass(frozen=True, slots=True)
class AdminView:
    """``runs`` as ``status.recent_runs`` tells them; ``failures``: source, file, reason; ``failed``: source's id -> how
    many of its files could not be read; cost in dollars."""

    runs: list[dict[str, Any]]
    failures: list[tuple[str, str, str]]
    cost_today: float
    cost_30_days: float
    answers_today: int
    unanswered: list[Asked]
    votes_up: int
    votes_down: int
    failed: Mapping[int, int]


async def readable_sources(session: AsyncSession, audience: Audience) -> list[SourceView]:
    """The sources that hold something for the audience, those with most of it first. ``session``: of the reader."""
    await admit(session, audience)
    readers = cast(sorted(audience.principals), ARRAY(Text))
    mine = (
        select(Document.source_id, func.count().label("documents"), func.max(Document.indexed_at).label("newest"))
        .where(Document.readers.overlap(readers))
        .group_by(Document.source_id)
        .subquery()
    )
    columns = (Source.id, Source.name, Source.kind, mine.c.documents)
    synced = func.coalesce(Source.synced_at, mine.c.newest)
    statement = select(*columns, synced, mine.c.newest).join(mine, mine.c.source_id == Source.id)
    rows = await session.execute(statement.order_by(mine.c.documents.desc(), Source.id))
    return [SourceView(*row) for row in rows]


async def questions_of(session: AsyncSession, person: str) -> list[Asked]:
    """What somebody asked last, newest first."""
    asked = _asked(Answer.asker == person, Answer.withdrawn_at.is_(None), limit=QUESTIONS)
    return [Asked(*row) for row in await session.execute(asked)]


async def of_admin(session: AsyncSession) -> AdminView:
    today = func.date_trunc("day", func.now())
    since = func.now() - text("interval '30 days'")
    counts = select(
        func.coalesce(func.sum(case((Answer.created_at >= today, Answer.cost_usd), else_=0.0)), 0.0),
        func.coalesce(func.sum(Answer.cost_usd), 0.0),
        func.count().filter(Answer.created_at >= today),
    ).where(Answer.created_at >= since)
    cost_today, cost_30_days, answers_today = (await session.execute(counts)).one()
    votes = select(
        func.count().filter(Vote.value > 0), func.count().filter(Vote.value < 0)
    ).where(Vote.updated_at >= since)  # fmt: skip
    up, down = (await session.execute(votes)).one()
    failed = (
        select(Source.name, DocumentFailure.external_id, DocumentFailure.reason)
        .join(Source, Source.id == DocumentFailure.source_id)
        .order_by(DocumentFailure.failed_at.desc())
        .limit(UNANSWERED)
    )
    failures = [(row[0], row[1], row[2]) for row in await session.execute(failed)]
    gaps = _asked(
        Answer.outcome.in_(UNANSWERED_AS), ~Answer.unprompted, Answer.withdrawn_at.is_(None),
        limit=UNANSWERED,
    )  # fmt: skip
    unanswered = [Asked(*row) for row in await session.execute(gaps)]
    runs = await status.recent_runs(session)
    counted = select(DocumentFailure.source_id, func.count()).group_by(DocumentFailure.source_id)
    numbers = {row[0]: row[1] for row in await session.execute(counted)}
    return AdminView(runs, failures, cost_today, cost_30_days, answers_today, unanswered, up, down, numbers)


def _asked(*where: Any, limit: int) -> Any:
    columns = (Answer.created_at, Answer.question, Answer.outcome, Answer.id)
    return select(*columns).where(*where).order_by(Answer.created_at.desc()).limit(limit)
