"""A passage in its document: what a reader sees who opens a citation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Text, and_, cast, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from assistant.database.tables import Chunk, Document
from assistant.knowledge.audience import Audience

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


async def around(session: AsyncSession, chunk_id: int, audience: Audience, reach: int = REACH) -> PassageView | None:
    """The passage within its document; None when it is gone or the audience may not read it."""
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
