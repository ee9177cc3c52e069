"""Where documents come from: listed, added and removed; and what was uploaded, until it is read."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import documents
from assistant.database.tables import Answer, Document, DocumentFailure, Forgotten, Source, Upload
from assistant.strings import say

BATCH = 100  # documents removed in one transaction


@dataclass(frozen=True, slots=True)
class SourceRow:
    id: int
    kind: str
    location: str
    name: str
    readers: list[str]
    synced_at: datetime | None
    documents: int
    failures: int


async def listed(session: AsyncSession, source_id: int | None = None) -> list[SourceRow]:
    """Every source, or the one, with how many documents it has and how many of its files failed."""

    def count(table: type[Document] | type[DocumentFailure]) -> Any:
        return select(func.count()).where(table.source_id == Source.id).correlate(Source).scalar_subquery()

    columns = (Source.id, Source.kind, Source.location, Source.name, Source.readers, Source.synced_at)
    statement = select(*columns, count(Document), count(DocumentFailure)).order_by(Source.id)
    if source_id is not None:
        statement = statement.where(Source.id == source_id)
    return [SourceRow(*row) for row in await session.execute(statement)]


async def ensure(
    session: AsyncSession, kind: str, location: str, name: str, readers: Sequence[str]
) -> tuple[int, bool]:
    """The source's id, and whether it is new."""
    values = {"kind": kind, "location": location, "name": name, "readers": list(readers)}
    new = insert(Source).values(**values).on_conflict_do_nothing(index_elements=[Source.kind, Source.location])
    source_id = (await session.execute(new.returning(Source.id))).scalar_one_or_none()
    if source_id is not None:
        return source_id, True
    known = select(Source.id).where(Source.kind == kind, Source.location == location)
    return (await session.execute(known)).scalar_one(), False


async def mark_synced(session: AsyncSession, source_id: int) -> None:
    await session.execute(update(Source).where(Source.id == source_id).values(synced_at=func.now()))


async def remove_some(session: AsyncSession, source_id: int) -> int:
    """Remove the next documents of a source, and the source with its last; returns how many there were to remove."""
    ids = select(Document.id).where(Document.source_id == source_id).order_by(Document.id).limit(BATCH)
    found = list((await session.execute(ids)).scalars())
    await documents.remove(session, found)
    if len(found) < BATCH:
        await session.execute(delete(Source).where(Source.id == source_id))
    return len(found)


@dataclass(frozen=True, slots=True)
class Named:
    """A document that a person's words may mean."""

    id: int
    source_id: int
    external_id: str
    title: str
    url: str | None


async def named(session: AsyncSession, words: str, limit: int = 10) -> list[Named]:
    """The documents that ``words`` name: a number (``#12``), an address, an external id, or a title."""
    columns = (Document.id, Document.source_id, Document.external_id, Document.title, Document.url)
    number = words.removeprefix("#")
    if words.startswith("#") and number.isdigit():
        where = Document.id == int(number)
    else:
        where = or_(
            Document.url == words.partition("#")[0],
            Document.external_id == words,
            func.lower(Document.title) == words.casefold(),
        )
    return [
        Named(*row) for row in await session.execute(select(*columns).where(where).order_by(Document.id).limit(limit))
    ]


async def forget(session: AsyncSession, document: Named, person: str) -> int:
    """Remove a document for good: a sync leaves it out, and answers that cite it lose their words. Returns how many."""
    await documents.remove(session, [document.id])
    row = {"source_id": document.source_id, "external_id": document.external_id, "person": person}
    await session.execute(insert(Forgotten).values(**row).on_conflict_do_nothing())
    cites = [{"document_id": document.id}]
    told = select(Answer.id, Answer.language).where(
        or_(Answer.citations.contains(cites), Answer.nearest.contains(cites))
    )
    rows = (await session.execute(told)).all()
    for answer_id, language in rows:
        values = {"text": say("common.withdrawn", language), "citations": [], "nearest": [], "withdrawn_at": func.now()}
        await session.execute(update(Answer).where(Answer.id == answer_id).values(**values))
    return len(rows)


async def forgotten(session: AsyncSession, source_id: int) -> set[str]:
    """External ids that a sync must leave out."""
    return set((await session.execute(select(Forgotten.external_id).where(Forgotten.source_id == source_id))).scalars())


async def remember(session: AsyncSession, source_id: int, external_id: str) -> None:
    """Let a document that was removed come back: somebody named it."""
    where = (Forgotten.source_id == source_id, Forgotten.external_id == external_id)
    await session.execute(delete(Forgotten).where(*where))


async def keep_upload(
    session: AsyncSession, source_id: int, external_id: str, name: str, url: str | None, content: bytes
) -> uuid.UUID:
    row = {"source_id": source_id, "external_id": external_id, "name": name, "url": url, "content": content}
    return (await session.execute(insert(Upload).values(**row).returning(Upload.id))).scalar_one()


async def upload(session: AsyncSession, upload_id: uuid.UUID) -> Upload | None:
    return await session.get(Upload, upload_id)


async def drop_upload(session: AsyncSession, upload_id: uuid.UUID) -> None:
    await session.execute(delete(Upload).where(Upload.id == upload_id))
