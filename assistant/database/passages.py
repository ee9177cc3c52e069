"""A passage in its document: what a reader sees who opens a citation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Text, and_, cast, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from assistant.database.session import admit
from assistant.database.tables import Chunk, Document
from assistant.knowledge.audience import Audience
from assistant.knowledge.sentences import split_units

SUMMARY_CHARACTERS = 400
REACH = 150  # chunks shown before and after the one that was cited


@dataclass(frozen=True, slots=True)
class Passage:
    """``current`` marks the passage that was asked for."""

    chunk_id: int
    text: str
    heading_path: list[str]
    page: int | None
    current: bool


@dataclass(frozen=True, slots=True)
class PassageView:
    """The document, with up to ``REACH`` passages on either side of the one asked for, in reading order."""

    title: str
    url: str | None
    external_id: str
    details: dict[str, Any]
    passages: list[Passage]


async def readable(session: AsyncSession, chunk_ids: Sequence[int], audience: Audience) -> set[int]:
    """Those of the passages that are there and that the audience may read."""
    await admit(session, audience)
    asked = {"ids": list(chunk_ids), "readers": sorted(audience.principals)}
    return set((await session.execute(_READABLE, asked)).scalars())


_READABLE = text(
    "SELECT c.id FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.id = ANY(CAST(:ids AS bigint[]))"
    " AND c.readers && CAST(:readers AS text[]) AND d.readers && CAST(:readers AS text[])"
)


@dataclass(frozen=True, slots=True)
class Summary:
    """A known document in a few words."""

    title: str
    text: str
    url: str
    owner: str | None
    updated: str | None


async def summary_of(session: AsyncSession, url: str, audience: Audience) -> Summary | None:
    """The document at an address, whatever its fragment; None where it is unknown or the audience may not read it."""
    await admit(session, audience)
    readers = cast(sorted(audience.principals), ARRAY(Text))
    address = url.partition("#")[0]
    statement = (
        select(Document.title, Document.url, Document.details, Chunk.text)
        .join(Chunk, Chunk.document_id == Document.id)
        .where(Document.url.in_({address, address.rstrip("/"), f"{address.rstrip('/')}/"}))
        .where(Document.readers.overlap(readers), Chunk.readers.overlap(readers))
        .order_by(Document.indexed_at.desc(), Chunk.ordinal)
        .limit(1)
    )
    row = (await session.execute(statement)).first()
    if row is None:
        return None
    first = next((unit for unit in split_units(row.text) if unit.kind == "sentence"), None)
    text = row.text[first.start :] if first else row.text
    return Summary(
        row.title,
        " ".join(text.split())[:SUMMARY_CHARACTERS],
        row.url,
        row.details.get("owner"),
        row.details.get("updated"),
    )


async def around(session: AsyncSession, chunk_id: int, audience: Audience, reach: int = REACH) -> PassageView | None:
    """The passage within its document; None when it is gone or the audience may not read it."""
    await admit(session, audience)
    cited = aliased(Chunk)
    readers = cast(sorted(audience.principals), ARRAY(Text))
    near = Chunk.ordinal.between(cited.ordinal - reach, cited.ordinal + reach)
    statement = (
        select(
            Document.title, Document.url, Document.external_id, Document.details,
            Chunk.id, Chunk.text, Chunk.heading_path, Chunk.page,
        )
        .select_from(cited)
        .join(Document, Document.id == cited.document_id)
        .join(Chunk, and_(Chunk.document_id == cited.document_id, near))
        .where(cited.id == chunk_id)
        .where(cited.readers.overlap(readers), Document.readers.overlap(readers), Chunk.readers.overlap(readers))
        .order_by(Chunk.ordinal)
    )  # fmt: skip
    rows = (await session.execute(statement)).all()
    if not rows:
        return None
    first = rows[0]
    found = [Passage(row.id, row.text, list(row.heading_path), row.page, row.id == chunk_id) for row in rows]
    return PassageView(first.title, first.url, first.external_id, first.details, found)


def as_json(view: PassageView) -> dict[str, Any]:
    document = {"title": view.title, "url": view.url, "external_id": view.external_id, "details": view.details}
    return {"document": document, "chunks": [asdict(passage) for passage in view.passages]}
