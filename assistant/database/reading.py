"""A whole document, as those who may read it can page through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import admit
from assistant.database.tables import Chunk, Document
from assistant.knowledge.audience import Audience


@dataclass(frozen=True, slots=True)
class Page:
    """Some passages of a document in reading order; ``next_passage`` is where the next page begins, None at the end."""

    document_id: int
    title: str
    url: str | None
    external_id: str
    details: dict[str, Any]
    text: str
    next_passage: int | None


async def page_of(
    session: AsyncSession, named: int | str, audience: Audience, first: int = 0, characters: int = 40_000
) -> Page | None:
    """From passage ``first`` on, as many as ``characters`` hold (one at least). ``named`` is an id or an address.

    None where there is no such document, or the audience may not read it: both look the same.
    """
    await admit(session, audience)
    readers = cast(sorted(audience.principals), ARRAY(Text))
    here = Document.id == named if isinstance(named, int) else _at(named)
    size = func.sum(func.length(Chunk.text)).over(order_by=Chunk.ordinal)
    found = (
        select(
            Document.id, Document.title, Document.url, Document.external_id, Document.details,
            Chunk.ordinal, Chunk.text, Chunk.heading_path, size.label("until"),
        )
        .join(Chunk, Chunk.document_id == Document.id)
        .where(here, Document.readers.overlap(readers), Chunk.readers.overlap(readers), Chunk.ordinal >= first)
        .order_by(Document.indexed_at.desc(), Document.id, Chunk.ordinal)
    )  # fmt: skip
    rows = (await session.execute(found.limit(1_000))).all()
    if not rows:
        return None
    mine = [row for row in rows if row.id == rows[0].id]
    kept = [row for row in mine if row.until <= characters] or mine[:1]
    after = mine[len(kept)].ordinal if len(kept) < len(mine) else None
    document = rows[0]
    text = "\n\n".join(_with_heading(kept))
    return Page(document.id, document.title, document.url, document.external_id, document.details, text, after)


def _at(address: str) -> Any:
    """An address with or without its fragment and last slash, or the id that the source gives."""
    plain = address.partition("#")[0]
    addresses = {plain, plain.rstrip("/"), f"{plain.rstrip('/')}/"}
    return or_(Document.url.in_(addresses), Document.external_id == address)


def _with_heading(rows: list[Any]) -> list[str]:
    """Texts of passages; where a new section begins, its headings stand before it."""
    texts, before = [], None
    for row in rows:
        path = list(row.heading_path)
        named = f"## {' > '.join(path)}\n\n" if path and path != before else ""
        texts.append(f"{named}{row.text}")
        before = path
    return texts
