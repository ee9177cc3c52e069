"""Evaluation runs with their cases; what is measured of answers; and questions that become cases."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, cast, delete, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.messages import Turn
from assistant.answering.outcomes import Outcome
from assistant.database.tables import Answer, Chunk, Document, Vote
from assistant.database.tables_evaluation import EvaluationResult, EvaluationRun
from assistant.errors import NotFound

PLATFORM = "evaluation"  # of questions that are asked to measure; their answers are deleted
_OPEN_END = (Outcome.NOT_IN_DOCUMENTS.value, Outcome.HIDDEN_BY_PERMISSIONS.value, Outcome.FAILED.value)


async def save(session: AsyncSession, document: Mapping[str, Any]) -> uuid.UUID:
    """Keep a run (``assistant.evaluation.results.run_json``); returns its id."""
    run_id = uuid.uuid4()
    about = {**document["about"], "skipped": document["skipped"], "remarks": document["remarks"]}
    named = {key: document[key] for key in ("suite", "subject", "model", "metrics", "seconds")}
    await session.execute(insert(EvaluationRun).values(id=run_id, about=about, **named))
    if document["cases"]:
        rows = [
            {"run_id": run_id, "case_id": case["id"], "place": place, "title": case["title"],
             "counts": case["counts"], "detail": case["detail"]}
            for place, case in enumerate(document["cases"])
        ]  # fmt: skip
        await session.execute(insert(EvaluationResult), rows)
    return run_id


async def load(session: AsyncSession, run_id: uuid.UUID) -> dict[str, Any]:
    """The run as ``save`` was given it, with its id and times; raises ``NotFound``."""
    run = (await session.execute(select(EvaluationRun).where(EvaluationRun.id == run_id))).scalar_one_or_none()
    if run is None:
        raise NotFound(f"There is no evaluation run {run_id}.")
    rows = select(EvaluationResult).where(EvaluationResult.run_id == run_id).order_by(EvaluationResult.place)
    cases = (await session.execute(rows)).scalars()
    about = dict(run.about)
    return {
        "run": str(run.id),
        "suite": run.suite,
        "subject": run.subject,
        "model": run.model,
        "seconds": run.seconds,
        "created_at": run.created_at.isoformat(timespec="seconds"),
        "accepted_at": run.accepted_at.isoformat(timespec="seconds") if run.accepted_at else None,
        "metrics": run.metrics,
        "skipped": about.pop("skipped", []),
        "remarks": about.pop("remarks", []),
        "about": about,
        "cases": [
            {"id": case.case_id, "title": case.title, "counts": case.counts, "detail": case.detail} for case in cases
        ],
    }


async def accepted(session: AsyncSession, suite: str, subject: str) -> uuid.UUID | None:
    """The run of that suite and subject that was accepted last."""
    statement = (
        select(EvaluationRun.id)
        .where(
            EvaluationRun.suite == suite, EvaluationRun.subject == subject, EvaluationRun.accepted_at.is_not(None)
        )
        .order_by(EvaluationRun.accepted_at.desc())
        .limit(1)
    )  # fmt: skip
    return (await session.execute(statement)).scalar_one_or_none()


async def accept(session: AsyncSession, run_id: uuid.UUID) -> None:
    statement = update(EvaluationRun).where(EvaluationRun.id == run_id).values(accepted_at=func.now())
    await session.execute(statement)


async def find(session: AsyncSession, name: str, suite: str | None = None) -> uuid.UUID:
    """The run whose id begins with ``name``; ``last`` is the newest one. Raises ``NotFound`` with one sentence."""
    statement = select(EvaluationRun.id).order_by(EvaluationRun.created_at.desc()).limit(2)
    if suite is not None:
        statement = statement.where(EvaluationRun.suite == suite)
    if name != "last":
        begins = cast(EvaluationRun.id, Text).startswith(name.strip().lower(), autoescape=True)
        statement = statement.where(begins)
    found = list((await session.execute(statement)).scalars())
    if not found:
        raise NotFound(f"There is no evaluation run {name}; `almanac eval runs` lists them.")
    if len(found) > 1 and name != "last":
        raise NotFound(f"Several evaluation runs begin with {name}; give more of the id.")
    return found[0]


async def newest(session: AsyncSession, limit: int) -> list[dict[str, Any]]:
    """The newest runs without their cases, the newest first."""
    counted = (
        select(func.count())
        .where(EvaluationResult.run_id == EvaluationRun.id)
        .correlate(EvaluationRun)
        .scalar_subquery()
        .label("cases")
    )
    columns = [getattr(EvaluationRun, name) for name in
               ("id", "suite", "subject", "model", "metrics", "seconds", "created_at", "accepted_at")]  # fmt: skip
    statement = select(*columns, counted).order_by(EvaluationRun.created_at.desc()).limit(limit)
    return [{**row, "id": str(row["id"])} for row in (await session.execute(statement)).mappings()]


async def chunk_texts(session: AsyncSession, chunk_ids: Sequence[int]) -> dict[int, str]:
    """Chunk id -> its words, below its title and headings."""
    statement = (
        select(Chunk.id, Document.title, Chunk.heading_path, Chunk.text)
        .join(Document, Document.id == Chunk.document_id)
        .where(Chunk.id.in_(chunk_ids))
    )
    return {
        row.id: "\n".join([" > ".join([row.title, *row.heading_path]), row.text])
        for row in await session.execute(statement)
    }


async def held(session: AsyncSession, external_ids: Sequence[str]) -> set[str]:
    """Those of the documents that the index holds."""
    statement = select(Document.external_id).where(Document.external_id.in_(external_ids))
    return set((await session.execute(statement)).scalars())


async def begin_conversation(session: AsyncSession, conversation: str, asker: str, turns: Sequence[Turn]) -> None:
    """Earlier turns of a case, as if they had been asked and answered here."""
    for turn in turns:
        await session.execute(
            insert(Answer).values(
                id=uuid.uuid4(), platform=PLATFORM, conversation=conversation, asker=asker, audience=["everyone"],
                question=turn.question, outcome=Outcome.ANSWERED.value, text=turn.answer, citations=[], nearest=[],
                retrieval=[], timings_ms={}, model="", prompt_tokens=0, completion_tokens=0, cost_usd=0.0,
                created_at=func.clock_timestamp(),
            )
        )  # fmt: skip


async def retrieved(session: AsyncSession, answer_id: uuid.UUID) -> list[int]:
    """Chunk ids of what was found for an answer, best first."""
    statement = select(Answer.retrieval).where(Answer.id == answer_id)
    rows = (await session.execute(statement)).scalar_one_or_none() or []
    return [int(row["chunk_id"]) for row in rows]


async def forget_conversation(session: AsyncSession, conversation: str | None) -> None:
    """Delete what measuring has left among the answers; None: of every conversation older than a day."""
    statement = delete(Answer).where(Answer.platform == PLATFORM)
    if conversation is None:
        statement = statement.where(Answer.created_at < func.now() - timedelta(days=1))
    else:
        statement = statement.where(Answer.conversation == conversation)
    await session.execute(statement)


@dataclass(frozen=True, slots=True)
class Open:
    """A question that ended without an answer, or whose answer was voted down. Nobody is named."""

    id: uuid.UUID
    question: str
    outcome: str
    cited: tuple[str, ...]  # external ids
    up: int
    down: int
    asked_at: datetime


async def open_questions(session: AsyncSession, since: timedelta | None) -> list[Open]:
    """The newest first. Left out: private answers, questions taken back, and messages that were not put to us."""
    up, down = (func.count(Vote.person).filter(Vote.value == value) for value in (1, -1))
    statement = (
        select(Answer.id, Answer.question, Answer.outcome, Answer.citations, up, down, Answer.created_at)
        .outerjoin(Vote, Vote.answer_id == Answer.id)
        .where(
            ~Answer.private,
            ~Answer.unprompted,
            Answer.withdrawn_at.is_(None),
            Answer.platform != PLATFORM,
        )
        .group_by(Answer.id)
        .having(or_(Answer.outcome.in_(_OPEN_END), down > up))
        .order_by(Answer.created_at.desc())
    )
    if since is not None:
        statement = statement.where(Answer.created_at > func.now() - since)
    return [
        Open(row[0], row[1], row[2], tuple(dict.fromkeys(item["external_id"] for item in row[3])), *row[4:])
        for row in await session.execute(statement)
    ]


async def of_one_day(session: AsyncSession) -> bool:
    """Whether no document that the transaction sees is of another day than the others."""
    first, last = (await session.execute(text("SELECT min(day), max(day) FROM documents"))).one()
    return bool(first == last)
