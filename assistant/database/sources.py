"""Where documents come from: listed, added and removed; and what was uploaded, until it is read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, case, cast, delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import documents
from assistant.database.folders import folder_source
from assistant.database.tables import Answer, Document, DocumentFailure, Forgotten, Run, Source, Upload
from assistant.errors import AlmanacError
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
    config: dict[str, Any]
    cursor: dict[str, Any] | None
    interval_minutes: int
    next_sync_at: datetime | None
    error: str | None
    failed_syncs: int
    drift: dict[str, Any] | None
    reconciled_at: datetime | None
    documents: int
    failures: int


async def listed(session: AsyncSession, source_id: int | None = None) -> list[SourceRow]:
    """Every source, or the one, with how many documents it has and how many of its files failed."""

    def count(table: type[Document] | type[DocumentFailure]) -> Any:
        return select(func.count()).where(table.source_id == Source.id).correlate(Source).scalar_subquery()

    columns: list[Any] = [getattr(Source, field.name) for field in fields(SourceRow)[:-2]]
    statement = select(*columns, count(Document), count(DocumentFailure)).order_by(Source.id)
    if source_id is not None:
        statement = statement.where(Source.id == source_id)
    rows: Iterable[Any] = await session.execute(statement)
    return [SourceRow(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Health:
    """``drift``: what the last nightly comparison found, by kind of difference."""

    name: str
    drift: dict[str, int] | None
    failures: int


async def health(session: AsyncSession) -> list[Health]:
    """What the metrics say of each source; its name and number, since names may be alike."""
    failed = select(func.count()).where(DocumentFailure.source_id == Source.id).correlate(Source).scalar_subquery()
    rows = await session.execute(select(Source.id, Source.name, Source.drift, failed).order_by(Source.id))
    return [Health(f"{number} {name}", drift, count) for number, name, drift, count in rows]


async def ensure(
    session: AsyncSession,
    kind: str,
    location: str,
    name: str,
    readers: Sequence[str],
    config: Mapping[str, Any] | None = None,
    interval_minutes: int | None = None,
) -> tuple[int, bool]:
    """The source's id, and whether it is new. Options and a schedule that are given replace those of a known one."""
    given: dict[str, Any] = {}
    if config is not None:
        given["config"] = dict(config)
    if interval_minutes is not None:
        given |= {"interval_minutes": interval_minutes, "next_sync_at": _after(interval_minutes)}
    values = {"kind": kind, "location": location, "name": name, "readers": list(readers), **given}
    new = insert(Source).values(**values).on_conflict_do_nothing(index_elements=[Source.kind, Source.location])
    source_id = (await session.execute(new.returning(Source.id))).scalar_one_or_none()
    if source_id is not None:
        return source_id, True
    known = (Source.kind == kind, Source.location == location)
    source_id = (await session.execute(select(Source.id).where(*known))).scalar_one()
    if given:
        await session.execute(update(Source).where(Source.id == source_id).values(**given))
    return source_id, False


async def ensure_folder(
    session: AsyncSession, folder: str, config: Mapping[str, Any], interval_minutes: int
) -> tuple[int, bool]:
    """As ``ensure``, for a folder: one inside a known source belongs to it, so that no file is ever two documents.

    Raises AlmanacError where it lies inside another and has options: they would be the other's, or nobody's.
    """
    known = select(Source.id).where(Source.kind == "folder")
    before = set((await session.execute(known)).scalars())
    source_id, prefix = await folder_source(session, folder)
    given: dict[str, Any] = {"interval_minutes": interval_minutes, "next_sync_at": _after(interval_minutes)}
    if prefix and config:
        raise AlmanacError(
            f"{folder} lies inside source {source_id}, which has its own {' and '.join(sorted(config))}."
        )
    if config:
        given["config"] = dict(config)
    await session.execute(update(Source).where(Source.id == source_id).values(**given))
    return source_id, source_id not in before


def _after(minutes: int) -> Any:
    return func.now() + timedelta(minutes=minutes) if minutes else None


async def claim(session: AsyncSession, source_id: int, run_id: uuid.UUID) -> bool:
    """Make the source this run's alone; False while another run, whose lease has not ended, reads it."""
    holder = select(Run.id).where(Run.id == Source.busy_run, Run.state == "running", Run.claimed_until > func.now())
    free = or_(Source.busy_run.is_(None), Source.busy_run == run_id, ~holder.exists())
    statement = update(Source).where(Source.id == source_id, free).values(busy_run=run_id).returning(Source.id)
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def release(session: AsyncSession, source_id: int, run_id: uuid.UUID, owner: str) -> None:
    """Give the source back, if the run is still its owner's."""
    ours = select(Run.id).where(Run.id == run_id, Run.claimed_by == owner).exists()
    free = update(Source).where(Source.id == source_id, Source.busy_run == run_id, ours).values(busy_run=None)
    await session.execute(free)


async def save_cursor(session: AsyncSession, source_id: int, cursor: dict[str, Any] | None) -> None:
    """A sync has come to its end: the next one begins at ``cursor``."""
    values = {"cursor": cursor, "synced_at": func.now(), "error": None, "failed_syncs": 0}
    await session.execute(update(Source).where(Source.id == source_id).values(**values))


async def record_error(session: AsyncSession, source_id: int, error: str, run_id: uuid.UUID | None = None) -> None:
    """A sync failed. The next ones come later and later, at most a day apart; a run's later attempts count as one with
    its first, or an outage of two minutes would put off a sync for hours."""
    again = select(Run.id).where(Run.id == run_id, Run.attempts > 1).exists() & Source.error.is_not(None)
    before = case((again, func.greatest(Source.failed_syncs - 1, 0)), else_=Source.failed_syncs)
    minutes = func.least(Source.interval_minutes * func.power(2.0, func.least(before, 10)), 24 * 60)
    later = case(
        (Source.interval_minutes > 0, func.now() + func.make_interval(0, 0, 0, 0, 0, cast(minutes, Integer))),
        else_=None,
    )
    values = {"error": error, "failed_syncs": before + 1, "next_sync_at": later}
    await session.execute(update(Source).where(Source.id == source_id).values(**values))


async def record_drift(session: AsyncSession, source_id: int, drift: Mapping[str, int]) -> None:
    values = {"drift": dict(drift), "reconciled_at": func.now()}
    await session.execute(update(Source).where(Source.id == source_id).values(**values))


async def take_due(session: AsyncSession) -> list[int]:
    """Sources whose time for a sync has come, each handed out once: their next time is set."""
    due = (
        select(Source.id)
        .where(Source.interval_minutes > 0, Source.next_sync_at <= func.now())
        .order_by(Source.next_sync_at)
        .with_for_update(skip_locked=True)
    )
    ids = list((await session.execute(due)).scalars())
    step = func.make_interval(0, 0, 0, 0, 0, Source.interval_minutes)
    await session.execute(update(Source).where(Source.id.in_(ids)).values(next_sync_at=func.now() + step))
    return ids


async def to_reconcile(session: AsyncSession) -> list[int]:
    """Sources that are kept in step."""
    return list((await session.execute(select(Source.id).where(Source.interval_minutes > 0))).scalars())


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
    if words.startswith("#") and number.isdecimal():
        where = Document.id == int(number) if len(number) < 19 else false()
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


async def uploads_of(session: AsyncSession, source_id: int) -> list[uuid.UUID]:
    """What was shared and is not read yet, in the order in which it came."""
    statement = select(Upload.id).where(Upload.source_id == source_id).order_by(Upload.created_at, Upload.id)
    return list((await session.execute(statement)).scalars())


async def drop_upload(session: AsyncSession, upload_id: uuid.UUID) -> None:
    await session.execute(delete(Upload).where(Upload.id == upload_id))
