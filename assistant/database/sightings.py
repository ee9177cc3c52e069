"""What a listing of everything has named so far; what it has not named at its end is gone from the source."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import Text, cast, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.documents import INDEXED, IndexedDocument, by_external_id
from assistant.database.tables import Document, DocumentFailure, Run, Sighting


async def see(session: AsyncSession, listing: uuid.UUID, external_ids: Sequence[str]) -> None:
    """Note what a listing of everything has named."""
    ids = cast(list(external_ids), ARRAY(Text))
    rows = select(literal(listing), func.unnest(ids))
    await session.execute(insert(Sighting).from_select(["listing", "external_id"], rows).on_conflict_do_nothing())


async def see_below(session: AsyncSession, listing: uuid.UUID, source_id: int, prefix: str) -> None:
    """Note all that is known below ``prefix``: the listing could not look there."""
    for table in (Document, DocumentFailure):
        below = (table.source_id == source_id, table.external_id.startswith(prefix, autoescape=True))
        rows = select(literal(listing), table.external_id).where(*below)
        await session.execute(insert(Sighting).from_select(["listing", "external_id"], rows).on_conflict_do_nothing())


async def forget_sightings(session: AsyncSession, listing: uuid.UUID) -> None:
    await session.execute(delete(Sighting).where(Sighting.listing == listing))


async def forget_lost_sightings(session: AsyncSession) -> None:
    """Drop what runs that ended before their listing did have left behind."""
    going_on = select(Run.id).where(Run.state.in_(("queued", "running")))
    await session.execute(delete(Sighting).where(Sighting.listing.not_in(going_on)))


async def unseen(
    session: AsyncSession, source_id: int, prefix: str, listing: uuid.UUID, limit: int
) -> dict[str, IndexedDocument]:
    """Documents under ``prefix`` that the listing has not named."""
    seen = select(Sighting.external_id).where(Sighting.listing == listing, Sighting.external_id == Document.external_id)
    statement = select(*INDEXED).where(
        Document.source_id == source_id, Document.external_id.startswith(prefix, autoescape=True), ~seen.exists()
    )
    return by_external_id(await session.execute(statement.order_by(Document.id).limit(limit)))
