"""Which source a folder of this machine belongs to, so that no file is ever two documents.

A folder that somebody adds or ingests is read as a whole. Where only files of it were named, the source holds these
and nothing beside them: its ``config`` says so (``NAMED``), and no sync of it looks at the rest of the folder.
"""

from __future__ import annotations

from sqlalchemy import delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import blocks
from assistant.database.failures import take_in_within
from assistant.database.tables import Document, Forgotten, Source
from assistant.database.vectors import STATISTICS_LOCK
from assistant.errors import AlmanacError

NAMED = {"files": "named"}  # the config of a source that holds named files only


async def folder_source(session: AsyncSession, folder: str, whole: bool = True) -> tuple[int, str]:
    """The source that holds ``folder`` (an absolute path), and the folder's prefix within it ("" or "sub/").

    A folder inside a known source belongs to it; a folder around known sources takes them in. Not ``whole``: only
    files that stand directly in it are meant, so nothing is taken in.
    Raises AlmanacError where a source that would be taken in has readers of its own, which would be lost.
    """
    await session.execute(select(func.pg_advisory_xact_lock(STATISTICS_LOCK)))
    path = folder.rstrip("/") or "/"
    root = folder.rstrip("/") + "/"
    location = func.rtrim(Source.location, "/") + "/"
    around = select(Source).where(
        Source.kind == "folder",
        func.starts_with(literal(root), location),
        or_(Source.location == path, ~Source.config.contains(NAMED)),
    )
    source = (await session.execute(around.order_by(func.length(Source.location)))).scalars().first()
    if source is not None and not (source.location == path and holds_named(source.config)):
        return source.id, root.removeprefix(source.location.rstrip("/") + "/")
    if source is None:
        name = path.rsplit("/", 1)[-1] or "/"
        source = Source(kind="folder", location=path, name=name, config={} if whole else NAMED)
        session.add(source)
        await session.flush()
    elif whole:
        source.config = {key: value for key, value in source.config.items() if key not in NAMED}
    if whole:
        await _take_in_all(session, source, root)
    return source.id, ""


def holds_named(config: dict[str, object]) -> bool:
    """Whether a source with this config holds named files only."""
    return config.items() >= NAMED.items()


async def _take_in_all(session: AsyncSession, source: Source, root: str) -> None:
    """What lies inside becomes part of ``source``, which is then read at least as often as it was."""
    below = Source.location.startswith(root, autoescape=True)
    inside = select(Source).where(Source.kind == "folder", below, Source.id != source.id)
    for inner in list((await session.execute(inside)).scalars()):
        if "readers" in inner.config:
            raise AlmanacError(
                f"{inner.location} is a source with readers of its own (number {inner.id}), which would be lost inside "
                f"{source.location}; remove it first, or name the folders beside it one by one."
            )
        if inner.interval_minutes and inner.interval_minutes < (source.interval_minutes or inner.interval_minutes + 1):
            source.interval_minutes, source.next_sync_at = inner.interval_minutes, inner.next_sync_at
        await session.flush()
        await _take_in(session, source.id, inner, inner.location.removeprefix(root) + "/")


async def _take_in(session: AsyncSession, source_id: int, inner: Source, prefix: str) -> None:
    moved = {"source_id": source_id, "external_id": literal(prefix) + Document.external_id}
    await session.execute(update(Document).where(Document.source_id == inner.id).values(moved))
    forgotten = select(literal(source_id), literal(prefix) + Forgotten.external_id, Forgotten.person)
    kept = insert(Forgotten).from_select(
        ["source_id", "external_id", "person"], forgotten.where(Forgotten.source_id == inner.id)
    )
    await session.execute(kept.on_conflict_do_nothing())
    await blocks.merged(session, inner.id, source_id)
    await take_in_within(session, inner.id, source_id, prefix)
    await session.execute(delete(Source).where(Source.id == inner.id))
