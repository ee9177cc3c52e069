"""What a person sees on the home page of the bot: what is known, what they asked; for administrators, how it goes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, case, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database import status
from assistant.database.tables import Answer, Document, DocumentFailure, Source, Vote
from assistant.knowledge.audience import Audience

QUESTIONS = 5
UNANSWERED = 10
UNANSWERED_AS = (Outcome.NOT_IN_DOCUMENTS.value, Outcome.HIDDEN_BY_PERMISSIONS.value)


@dataclass(frozen=True, slots=True)
class SourceView:
    """``synced_at``: when the source was last read to its end, or its newest document."""

    id: int
    name: str
    kind: str
    documents: int
    synced_at: datetime | None
    failures: int


@dataclass(frozen=True, slots=True)
class Asked:
    at: datetime
    question: str
    outcome: str
    answer_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class PersonView:
    """Counts are of what the person may read."""

    documents: int
    sources: list[SourceView]
    questions: list[Asked]


@dataclass(frozen=True, slots=True)
class AdminView:
    """``runs`` as ``status.recent_runs`` tells them; ``failures``: source, file, reason; cost in dollars."""

    runs: list[dict[str, Any]]
    failures: list[tuple[str, str, str]]
    cost_today: float
    cost_30_days: float
    answers_today: int
    unanswered: list[Asked]
    votes_up: int
    votes_down: int


async def of_person(session: AsyncSession, person: str, audience: Audience) -> PersonView:
    readers = cast(sorted(audience.principals), ARRAY(Text))
    visible = select(Document).where(Document.readers.overlap(readers)).subquery()
    failures = select(func.count()).where(DocumentFailure.source_id == Source.id).correlate(Source).scalar_subquery()
    statement = (
        select(
            Source.id, Source.name, Source.kind, func.count(visible.c.id),
            func.coalesce(Source.synced_at, func.max(visible.c.indexed_at)), failures,
        )
        .join(visible, visible.c.source_id == Source.id)
        .group_by(Source.id)
        .order_by(func.count(visible.c.id).desc(), Source.id)
    )  # fmt: skip
    sources = [SourceView(*row) for row in await session.execute(statement)]
    asked = _asked(Answer.asker == person, Answer.withdrawn_at.is_(None), limit=QUESTIONS)
    questions = [Asked(*row) for row in await session.execute(asked)]
    return PersonView(sum(source.documents for source in sources), sources, questions)


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
    return AdminView(runs, failures, cost_today, cost_30_days, answers_today, unanswered, up, down)


def _asked(*where: Any, limit: int) -> Any:
    columns = (Answer.created_at, Answer.question, Answer.outcome, Answer.id)
    return select(*columns).where(*where).order_by(Answer.created_at.desc()).limit(limit)
