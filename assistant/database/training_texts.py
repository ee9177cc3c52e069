"""What a model may be trained on: documents that certain readers can read, and answers that people voted up."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database.evaluations import PLATFORM
from assistant.database.tables import Answer, Chunk, Document, Source, Vote
from assistant.database.tables_finetuning import TrainingOptOut

_BATCH = 200  # documents


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of a document."""

    headings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Readable:
    """A document with its text, in reading order. ``source``: the name of where it is from."""

    external_id: str
    title: str
    url: str | None
    source: str
    kind: str
    day: date
    readers: tuple[str, ...]
    details: dict[str, Any]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cited:
    """``number``: by which the answer cites it; without ``text``, the passage is gone."""

    number: int
    external_id: str
    title: str
    headings: tuple[str, ...]
    text: str | None
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upvoted:
    """An answer with more votes up than down among people who take part. Nobody is named."""

    id: uuid.UUID
    question: str
    text: str
    asked_at: datetime
    private: bool
    withdrawn: bool
    opted_out: bool  # whoever asked
    cited: tuple[Cited, ...]


async def documents(session: AsyncSession) -> AsyncIterator[list[Readable]]:
    """Every document, in batches, and in an order that does not depend on when they were read."""
    order = select(Document.id).join(Source).order_by(Source.kind, Source.location, Document.external_id)
    ids = list((await session.execute(order)).scalars())
    for start in range(0, len(ids), _BATCH):
        some = ids[start : start + _BATCH]
        chunks = select(Chunk.document_id, Chunk.heading_path, Chunk.text).where(Chunk.document_id.in_(some))
        parts: dict[int, list[Part]] = {}
        for document, headings, text in await session.execute(chunks.order_by(Chunk.document_id, Chunk.ordinal)):
            parts.setdefault(document, []).append(Part(tuple(headings), text))
        columns = (
            Document.external_id, Document.title, Document.url, Source.name, Source.kind, Document.day,
            Document.readers, Document.details,
        )  # fmt: skip
        found = await session.execute(select(Document.id, *columns).join(Source).where(Document.id.in_(some)))
        rows = {row[0]: row for row in found}
        yield [
            Readable(
                row.external_id, row.title, row.url, row.name, row.kind, row.day, tuple(row.readers), row.details,
                tuple(parts.get(number, ())),
            )
            for number in some
            if (row := rows.get(number)) is not None  # else it went while we read
        ]  # fmt: skip


async def upvoted(session: AsyncSession) -> list[Upvoted]:
    """The oldest first. Votes of people who do not want to be trained on count as none."""
    out = select(TrainingOptOut.person)
    statement = (
        select(
            Answer.id, Answer.question, Answer.text, Answer.created_at, Answer.private, Answer.withdrawn_at,
            Answer.asker.in_(out), Answer.citations,
        )
        .join(Vote, Vote.answer_id == Answer.id)
        .where(Answer.outcome == Outcome.ANSWERED.value, Answer.platform != PLATFORM, Vote.person.not_in(out))
        .group_by(Answer.id)
        .having(func.sum(Vote.value) > 0)
        .order_by(Answer.created_at, Answer.id)
    )  # fmt: skip
    rows = (await session.execute(statement)).all()
    chunks = await _chunks(session, {int(item["chunk_id"]) for row in rows for item in row[7]})
    return [
        Upvoted(
            row[0], row[1], row[2], row[3], row[4], row[5] is not None, row[6],
            tuple(_cited(item, chunks) for item in row[7]),
        )
        for row in rows
    ]  # fmt: skip


async def _chunks(session: AsyncSession, ids: set[int]) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Text and readers (of the chunk, which are its document's)."""
    wanted = cast(Chunk.readers, ARRAY(Text))
    found = await session.execute(select(Chunk.id, Chunk.text, wanted).where(Chunk.id.in_(ids)))
    return {row[0]: (row[1], tuple(row[2])) for row in found}


def _cited(item: dict[str, Any], chunks: Mapping[int, tuple[str, Sequence[str]]]) -> Cited:
    text, readers = chunks.get(int(item["chunk_id"]), (None, ()))
    headings = tuple(item.get("heading_path") or ())
    return Cited(int(item["n"]), item["external_id"], item["title"], headings, text, tuple(readers))
