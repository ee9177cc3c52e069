"""Files that could not be read: why, how often, and when they are tried again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Text, all_, any_, case, cast, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Document, DocumentFailure, Sighting, Source

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)
HOLDER = func.coalesce(DocumentFailure.within, DocumentFailure.external_id)
RETRIES = 8  # the first after a minute, the last after a day or so


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a document could not be had the last time, and of which state of it that was said."""

    content_hash: str | None
    version: str | None
    reason: str
    transient: bool


async def record_failure(
    session: AsyncSession,
    source_id: int,
    external_id: str,
    content_hash: str | None,
    reason: str,
    *,
    version: str | None = None,
    transient: bool = False,
    retry_after: float | None = None,
) -> None:
    """Keep why a document could not be had. A transient failure gets a time for its next attempt, ever later ones."""
    first = timedelta(seconds=max(retry_after or 0.0, FIRST_RETRY.total_seconds()))
    new = insert(DocumentFailure).values(
        source_id=source_id, external_id=external_id, content_hash=content_hash, version=version, reason=reason,
        transient=transient, next_at=func.now() + first if transient else None,
    )  # fmt: skip
    doubled = func.least(first * func.power(2.0, DocumentFailure.attempts), LAST_RETRY)
    later = case((DocumentFailure.attempts < RETRIES, func.now() + doubled), else_=None)
    changed = {
        "reason": reason,
        "content_hash": content_hash,
        "version": version,
        "transient": transient,
        "next_at": later if transient else None,
        "attempts": DocumentFailure.attempts + 1,
        "failed_at": func.now(),
    }
    await session.execute(
        new.on_conflict_do_update(index_elements=[DocumentFailure.source_id, DocumentFailure.external_id], set_=changed)
    )


async def failures_named(session: AsyncSession, source_id: int, external_ids: Sequence[str]) -> dict[str, Failure]:
    """External id -> what is known of its last failure, for those of the ids that failed."""
    columns = (
        DocumentFailure.external_id, DocumentFailure.content_hash, DocumentFailure.version, DocumentFailure.reason,
        DocumentFailure.transient,
    )  # fmt: skip
    named = DocumentFailure.external_id == any_(cast(list(external_ids), ARRAY(Text)))
    rows = await session.execute(select(*columns).where(DocumentFailure.source_id == source_id, named))
    return {row[0]: Failure(row[1], row[2], row[3], row[4]) for row in rows}


async def failures_to_retry(session: AsyncSession, source_id: int, due: bool) -> list[str]:
    """External ids of the documents that failed, or of which a part did: those whose time has come, or all."""
    statement = select(HOLDER).where(DocumentFailure.source_id == source_id).distinct()
    if due:
        statement = statement.where(DocumentFailure.next_at <= func.now())
    return list((await session.execute(statement.order_by(HOLDER))).scalars())


async def sources_with_failures_due(session: AsyncSession) -> list[int]:
    statement = select(DocumentFailure.source_id).where(DocumentFailure.next_at <= func.now()).distinct()
    return list((await session.execute(statement)).scalars())


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A failure as people see it."""

    source_id: int
    source: str
    external_id: str
    reason: str
    attempts: int
    transient: bool
    next_at: datetime | None
    failed_at: datetime


async def failures_listed(session: AsyncSession, limit: int, source_id: int | None = None) -> list[FailureRow]:
    """The newest first."""
    columns = (
        DocumentFailure.source_id, Source.name, DocumentFailure.external_id, DocumentFailure.reason,
        DocumentFailure.attempts, DocumentFailure.transient, DocumentFailure.next_at, DocumentFailure.failed_at,
    )  # fmt: skip
    statement = select(*columns).join(Source, Source.id == DocumentFailure.source_id)
    if source_id is not None:
        statement = statement.where(DocumentFailure.source_id == source_id)
    ordered = statement.order_by(DocumentFailure.failed_at.desc(), DocumentFailure.external_id).limit(limit)
    return [FailureRow(*row) for row in await session.execute(ordered)]


async def forget_failure(session: AsyncSession, source_id: int, external_id: str) -> None:
    await forget_failures(session, source_id, [external_id])


async def forget_failures(session: AsyncSession, source_id: int, external_ids: Sequence[str]) -> None:
    named = DocumentFailure.external_id == any_(cast(list(external_ids), ARRAY(Text)))
    await session.execute(delete(DocumentFailure).where(DocumentFailure.source_id == source_id, named))


async def forget_unseen_failures(session: AsyncSession, source_id: int, prefix: str, listing: uuid.UUID) -> None:
    """Drop the failures of files that are no longer there."""
    seen = select(Sighting.external_id).where(Sighting.listing == listing, Sighting.external_id == HOLDER)
    await session.execute(
        delete(DocumentFailure).where(
            DocumentFailure.source_id == source_id,
            HOLDER.startswith(prefix, autoescape=True),
            ~seen.exists(),
        )
    )


async def failures_within(
    session: AsyncSession, source_id: int, external_ids: Sequence[str]
) -> dict[str, dict[str, str]]:
    """External id -> what of it could not be read -> why, for those of the ids of which something could not."""
    columns = (DocumentFailure.within, DocumentFailure.external_id, DocumentFailure.reason)
    mine = (DocumentFailure.source_id == source_id, _within(external_ids))
    found: dict[str | None, dict[str, str]] = {}
    for holder, part, reason in await session.execute(
        select(*columns).where(*mine).order_by(DocumentFailure.external_id)
    ):
        found.setdefault(holder, {})[part] = reason
    return {holder: parts for holder, parts in found.items() if holder is not None}


async def record_within(session: AsyncSession, source_id: int, parts: Mapping[str, Mapping[str, str]]) -> None:
    """Documents were read, but for parts of some (external id -> part -> reason): these are their failures now."""
    old = delete(DocumentFailure).where(DocumentFailure.source_id == source_id, _within(list(parts)))
    kept = [part for failed in parts.values() for part in failed]
    await session.execute(old.where(DocumentFailure.external_id != all_(cast(kept, ARRAY(Text)))))
    rows = [
        {"source_id": source_id, "within": holder, "external_id": part, "reason": reason}
        for holder, failed in parts.items()
        for part, reason in failed.items()
    ]
    if not rows:
        return
    new = insert(DocumentFailure)
    changed = {"within": new.excluded.within, "reason": new.excluded.reason, "attempts": DocumentFailure.attempts + 1}
    await session.execute(
        new.on_conflict_do_update(
            index_elements=[DocumentFailure.source_id, DocumentFailure.external_id],
            set_={**changed, "failed_at": func.now()},
        ),
        rows,
    )


async def forget_within(session: AsyncSession, document_ids: Sequence[int]) -> None:
    """The documents are about to be deleted."""
    mine = (Document.source_id == DocumentFailure.source_id, Document.external_id == DocumentFailure.within)
    await session.execute(delete(DocumentFailure).where(Document.id.in_(document_ids), *mine))


async def move_within(session: AsyncSession, source_id: int, old: str, new: str) -> None:
    """A document has another external id now."""
    part = literal(new) + func.substr(DocumentFailure.external_id, func.length(literal(old)) + 1)
    mine = (DocumentFailure.source_id == source_id, DocumentFailure.within == old)
    await session.execute(update(DocumentFailure).where(*mine).values(within=new, external_id=part))


async def take_in_within(session: AsyncSession, inner_id: int, source_id: int, prefix: str) -> None:
    """A source's documents have become another's, below ``prefix``."""
    moved = {
        "source_id": source_id,
        "within": literal(prefix) + DocumentFailure.within,
        "external_id": literal(prefix) + DocumentFailure.external_id,
    }
    mine = (DocumentFailure.source_id == inner_id, DocumentFailure.within.is_not(None))
    await session.execute(update(DocumentFailure).where(*mine).values(moved))


def _within(external_ids: Sequence[str]) -> ColumnElement[bool]:
    return DocumentFailure.within == any_(cast(list(external_ids), ARRAY(Text)))
