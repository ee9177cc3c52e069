"""Documents and their chunks: written, replaced and removed whole, with BM25's statistics kept exact."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Text, any_, cast, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import blocks, statistics, vectors, verdicts
from assistant.database.blocks import Holders
from assistant.database.failures import forget_failure, forget_failures, forget_within, move_within
from assistant.database.tables import Chunk, CorpusStatistics, Document, Source
from assistant.database.vectors import STATISTICS_LOCK
from assistant.errors import SettingsError
from assistant.guardrails.judged import Judged
from assistant.knowledge import documents as types
from assistant.knowledge.analysis import analysis
from assistant.knowledge.boilerplate import readers_key
from assistant.knowledge.documents import text_hash
from assistant.knowledge.embedding import Vectors
from assistant.knowledge.lexical import frequencies

ASKED_FOR = -1  # in the place of an older analysis, once its source is to list everything


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What is known of a stored document before it is read again."""

    id: int
    external_id: str
    content_hash: str
    readers: tuple[str, ...]
    url: str | None
    version: str | None = None
    analysis: int = 0


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A parsed, chunked and embedded document.

    ``vectors``: the active model's, one row a chunk; None: every model's are in the index already. ``keys``: its
    blocks', crossed with its readers'; ``without``: those that its chunks were made without. ``judged``: what the guard
    said of each chunk's text; empty: it was not asked.
    """

    item: types.SourceItem
    document: types.ParsedDocument
    chunks: Sequence[types.Chunk]
    vectors: Vectors | None = None
    version: str | None = None
    keys: Collection[int] = ()
    without: Collection[int] = ()
    judged: Sequence[Judged] = ()


async def ensure_statistics(session: AsyncSession, embedding_model: str, dimensions: int = 384) -> None:
    """Let ``embedding_model`` answer from a new index; refuse to ask another index with it.

    Vectors of two models are not comparable: it takes ``almanac reembed`` to change over.
    """
    await vectors.lock(session)
    row = await session.get(CorpusStatistics, 1)
    if row is None:
        raise SettingsError("The database is not migrated; run `almanac check`.")
    active = next((model for model in await vectors.models(session) if model.state == "active"), None)
    if active is not None and active.name != embedding_model and row.chunks:
        raise SettingsError(
            f"ALMANAC_EMBEDDING_MODEL is {embedding_model}, but the index was made with {active.name}; "
            "set it back, or change over with `almanac reembed --model FOLDER`."
        )
    if active is not None and active.name != embedding_model:
        for model in await vectors.models(session):
            await vectors.drop(session, model)
        active = None
    if active is None:
        await vectors.add(session, embedding_model, dimensions, "active")


async def holds_chunks(session: AsyncSession) -> bool:
    return bool((await session.execute(select(CorpusStatistics.chunks))).scalar_one())


INDEXED = (
    Document.id, Document.external_id, Document.content_hash, Document.readers, Document.url, Document.version,
    Document.analysis,
)  # fmt: skip


async def documents_of(session: AsyncSession, source_id: int, prefix: str = "") -> dict[str, IndexedDocument]:
    """External id -> stored document, for the ids that begin with ``prefix``."""
    return await _indexed(session, source_id, Document.external_id.startswith(prefix, autoescape=True))


async def documents_named(
    session: AsyncSession, source_id: int, external_ids: Sequence[str]
) -> dict[str, IndexedDocument]:
    """External id -> stored document, for those of the ids that are stored."""
    return await _indexed(session, source_id, Document.external_id == any_(cast(list(external_ids), ARRAY(Text))))


async def _indexed(session: AsyncSession, source_id: int, where: Any) -> dict[str, IndexedDocument]:
    return by_external_id(await session.execute(select(*INDEXED).where(Document.source_id == source_id, where)))


def by_external_id(rows: Iterable[Any]) -> dict[str, IndexedDocument]:
    """What a query for ``INDEXED`` gave."""
    return {
        row.external_id: IndexedDocument(
            row.id, row.external_id, row.content_hash, tuple(row.readers), row.url, row.version, row.analysis
        )
        for row in rows
    }


async def begin_anew(session: AsyncSession, source_id: int) -> bool:
    """Where a source has documents that another text analysis made, its next listing is of everything, and none of
    those counts as known by its version: each is read again where it stands. Whether that is new."""
    outdated = (Document.source_id == source_id, Document.analysis.not_in((analysis(), ASKED_FOR)))
    asked = update(Document).where(*outdated).values(version=None, analysis=ASKED_FOR)
    if not (await session.execute(asked.returning(Document.id))).first():
        return False
    await session.execute(update(Source).where(Source.id == source_id).values(cursor=None))
    return True


async def replace(session: AsyncSession, source_id: int, prepared: PreparedDocument) -> None:
    """Put a document's new version in the place of the old one. Readers see either, never half."""
    await replace_all(session, source_id, [prepared])


async def replace_all(session: AsyncSession, source_id: int, prepared: Sequence[PreparedDocument]) -> Holders:
    """Put new versions of some documents, no two with one id, in the places of the old ones, all or none.

    Together they take as many statements as one. Returns who holds the blocks that they hold.
    """
    rows = {  # before the lock: others wait for what is under it
        one.item.external_id: _chunk_rows(one) for one in prepared
    }
    if len(rows) < len(prepared):
        raise ValueError("a document cannot be replaced twice at once")
    await _lock(session)
    documents = orjson.dumps([_document_row(one) for one in prepared]).decode()
    values = {"source_id": source_id, "analysis": analysis(), "rows": documents}
    written = (await session.execute(_UPSERT_DOCUMENTS, values)).all()
    for one in prepared:
        await _write_vectors(session, one, [row["text_hash"] for row in rows[one.item.external_id]])
    await vectors.require(session, list({row["text_hash"] for some in rows.values() for row in some}))
    if known := [row.id for row in written if not row.is_new]:
        await _remove_chunks(session, known)
    mean = await statistics.mean_length(session)
    every = [row | {"document_id": document.id} for document in written for row in rows[document.external_id]]
    for row in every:
        row |= statistics.weighed(row["terms"], row["frequencies"], row["length"], mean)
    await session.execute(_INSERT_CHUNKS, {"rows": orjson.dumps(every).decode()})
    await statistics.count(session, ((row["terms"], row["heavy"], row["length"]) for row in every), 1)
    held = await _share(session, source_id, prepared, {row.external_id: row.id for row in written}, known)
    await forget_failures(session, source_id, list(rows))
    return held


async def _share(
    session: AsyncSession, source_id: int, prepared: Sequence[PreparedDocument], ids: Mapping[str, int],
    known: Sequence[int],
) -> Holders:  # fmt: skip
    keys = {ids[one.item.external_id]: one.keys for one in prepared}
    without = {ids[one.item.external_id]: one.without for one in prepared}
    return await blocks.rewrite(session, source_id, keys, without, known) if known or any(keys.values()) else {}


async def _write_vectors(session: AsyncSession, prepared: PreparedDocument, hashes: Sequence[uuid.UUID]) -> None:
    """The vectors of the active model, where they come with the document."""
    if prepared.vectors is not None:
        active = next(model for model in await vectors.models(session) if model.state == "active")
        await vectors.write(session, active, hashes, prepared.vectors)


def _document_row(prepared: PreparedDocument) -> dict[str, Any]:
    item, document = prepared.item, prepared.document
    return {
        "external_id": item.external_id,
        "title": document.title,
        "url": item.url,
        "content_hash": item.content_hash,
        "version": prepared.version,
        "readers": list(item.readers),
        "details": dict(document.metadata),
    }


_UPSERT_DOCUMENTS = text(
    "INSERT INTO documents"
    " (source_id, external_id, title, url, content_hash, version, analysis, readers, details, indexed_at)"
    " SELECT :source_id, external_id, title, url, content_hash, version, :analysis, readers, details, now()"
    " FROM json_to_recordset(CAST(:rows AS json)) AS row(external_id text, title text, url text, content_hash text,"
    " version text, readers text[], details jsonb)"
    " ON CONFLICT (source_id, external_id) DO UPDATE SET title = excluded.title, url = excluded.url,"
    " content_hash = excluded.content_hash, version = excluded.version, analysis = excluded.analysis,"
    " readers = excluded.readers, details = excluded.details, indexed_at = CASE"
    " WHEN documents.content_hash = excluded.content_hash THEN documents.indexed_at ELSE excluded.indexed_at END"
    " RETURNING id, external_id, xmax = 0 AS is_new"
)

# The rows as JSON, in one statement: a third of what one statement a chunk costs the two of us. Verdicts go with them.
_INSERT_CHUNKS = text(
    "WITH rows AS MATERIALIZED ("
    "SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS row(document_id bigint, ordinal integer, text text,"
    " heading_path text[], anchor text, page integer, readers text[], text_hash uuid, terms integer[],"
    " frequencies integer[], length integer, weights sparsevec, heavy integer[],"
    " judge uuid, text_key uuid, verdict text, score float8, reasons text[])"
    "), new AS ("
    "INSERT INTO chunks (document_id, ordinal, text, heading_path, anchor, page, readers, text_hash, terms,"
    " frequencies, length, weights, heavy) SELECT document_id, ordinal, text, heading_path, anchor, page,"
    " readers, text_hash, terms, frequencies, length, weights, heavy FROM rows"
    " RETURNING id, document_id, ordinal"
    ") INSERT INTO passage_verdicts (chunk_id, judge, text_key, verdict, score, reasons)"
    " SELECT new.id, judge, text_key, verdict, score, reasons FROM new JOIN rows USING (document_id, ordinal)"
    " WHERE judge IS NOT NULL"
)


def _chunk_rows(prepared: PreparedDocument) -> list[dict[str, Any]]:
    judged: Sequence[Judged | None] = prepared.judged or [None] * len(prepared.chunks)
    pairs = zip(prepared.chunks, judged, strict=True)
    return [_chunk_row(prepared, chunk) | verdicts.columns(one) for chunk, one in pairs]


def _chunk_row(prepared: PreparedDocument, chunk: types.Chunk) -> dict[str, Any]:
    """The columns of a chunk but for its document and its weights, which wait for the mean length."""
    title = prepared.document.title
    counts = frequencies(chunk.text, chunk.context(title))
    terms = sorted(counts)
    values = [counts[term] for term in terms]
    return {
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "heading_path": list(chunk.heading_path),
        "anchor": chunk.anchor,
        "page": chunk.page,
        "readers": list(prepared.item.readers),
        "text_hash": text_hash(chunk.embedded_text(title)),
        "terms": terms,
        "frequencies": values,
        "length": sum(values),
    }


async def update_access(
    session: AsyncSession, document_id: int, readers: Sequence[str], url: str | None, version: str | None
) -> None:
    """New readers, a new URL or a new version of unchanged content: nothing is embedded again."""
    values = {"readers": list(readers), "url": url, "version": version}
    found = select(Document.source_id, Document.readers).where(Document.id == document_id)
    row = (await session.execute(found)).one_or_none()
    if row is not None and set(row.readers) != set(readers):
        await _lock(session)
        await blocks.cross(session, row.source_id, document_id, readers_key(row.readers) ^ readers_key(readers))
    await session.execute(update(Document).where(Document.id == document_id).values(**values))
    chunks = update(Chunk).where(Chunk.document_id == document_id, Chunk.readers != cast(list(readers), ARRAY(Text)))
    await session.execute(chunks.values(readers=list(readers)))


async def move(session: AsyncSession, source_id: int, moves: Sequence[tuple[str, str]]) -> None:
    """Give documents new external ids, in any order: what swaps or follows one another arrives where it should."""
    on_the_way = [(f"\x01moving/{place}", new) for place, (_, new) in enumerate(moves)]
    for (old, _), (between, _) in zip(moves, on_the_way, strict=True):
        mine = (Document.source_id == source_id, Document.external_id == old)
        await session.execute(update(Document).where(*mine).values(external_id=between))
        await move_within(session, source_id, old, between)
        await forget_failure(session, source_id, old)
    for between, new in on_the_way:
        taken = select(Document.id).where(Document.source_id == source_id, Document.external_id == new)
        await remove(session, list((await session.execute(taken)).scalars()))
        mine = (Document.source_id == source_id, Document.external_id == between)
        await session.execute(update(Document).where(*mine).values(external_id=new))
        await move_within(session, source_id, between, new)


async def remove(session: AsyncSession, document_ids: Sequence[int]) -> None:
    """Take documents and their chunks out of the index, now."""
    if not document_ids:
        return
    await _lock(session)
    await blocks.release(session, document_ids)
    await forget_within(session, document_ids)
    await _remove_chunks(session, document_ids)
    await session.execute(delete(Document).where(Document.id.in_(document_ids)))


async def _remove_chunks(session: AsyncSession, document_ids: Sequence[int]) -> None:
    removed = delete(Chunk).where(Chunk.document_id.in_(document_ids))
    rows = await session.execute(removed.returning(Chunk.terms, Chunk.heavy, Chunk.length))
    await statistics.count(session, ((row.terms, row.heavy, row.length) for row in rows), -1)


async def _lock(session: AsyncSession) -> None:
    await session.execute(select(func.pg_advisory_xact_lock(STATISTICS_LOCK)))
