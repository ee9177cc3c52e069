"""Who holds which blocks, and which documents have to be prepared again because that has changed.

Everything here that writes runs under ``STATISTICS_LOCK``, in the transaction that changes the documents: a mark is
there if and only if the change is. Of a footer's ten thousand holders only the first few are ever fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import BigInteger, ColumnElement, any_, bindparam, cast, delete, exists, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from assistant.database.tables import BlockKey, Document, DocumentAgain, Source
from assistant.knowledge.boilerplate import MINIMUM, left_out, to_prepare_again

Holders = dict[int, list[int]]

_HOLDERS = text(
    "SELECT wanted.key, held.document_id FROM unnest(:keys) AS wanted(key) CROSS JOIN LATERAL ("
    " SELECT document_id FROM block_keys WHERE source_id = :source_id AND key = wanted.key"
    " ORDER BY document_id LIMIT :most) AS held"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)))

_HOLD = text(
    "INSERT INTO block_keys (source_id, key, document_id)"
    " SELECT :source_id, * FROM unnest(:keys, :documents) ON CONFLICT DO NOTHING"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)), bindparam("documents", type_=ARRAY(BigInteger)))

_MARK = text(
    "INSERT INTO documents_again (document_id) SELECT id FROM documents WHERE id = ANY(:documents)"
    " ON CONFLICT (document_id) DO UPDATE SET tried = false"
).bindparams(bindparam("documents", type_=ARRAY(BigInteger)))

# All that share a block with enough others, where two sources have become one.
_MARK_SHARED = text(
    "INSERT INTO documents_again (document_id) SELECT DISTINCT document_id FROM ("
    " SELECT document_id, count(*) OVER (PARTITION BY key) AS holders FROM block_keys WHERE source_id = :source_id"
    ") AS held WHERE holders >= :minimum ON CONFLICT (document_id) DO UPDATE SET tried = false"
)


async def holders(session: AsyncSession, source_id: int, keys: Collection[int], most: int = MINIMUM) -> Holders:
    """Key -> the first ``most`` documents that hold it, by id; a key that none holds is left out."""
    found: Holders = {}
    if keys:
        values = {"source_id": source_id, "keys": sorted(keys), "most": most}
        for key, document_id in await session.execute(_HOLDERS, values):
            found.setdefault(key, []).append(document_id)
    return {key: sorted(ids) for key, ids in found.items()}


_COMMON = text(
    "SELECT key, (array_agg(document_id ORDER BY document_id))[1:CAST(:most AS integer)] AS holders FROM block_keys"
    " WHERE source_id = :source_id GROUP BY key HAVING count(*) >= :most - 1"
)


async def common(session: AsyncSession, source_id: int, most: int = MINIMUM) -> Holders:
    """Key -> the first ``most`` holders, for the keys that at least ``most - 1`` documents of a source hold."""
    rows = await session.execute(_COMMON, {"source_id": source_id, "most": most})
    return {row.key: list(row.holders) for row in rows}


async def rewrite(
    session: AsyncSession, source_id: int, keys: Mapping[int, Collection[int]], without: Mapping[int, Collection[int]],
    known: Collection[int],
) -> Holders:  # fmt: skip
    """Documents were written: id -> its keys, and those that its chunks were made without. ``known``: ids that were
    there before. Marks whoever is no longer right, and themselves where others were written meanwhile. Returns the
    first holders of the keys now."""
    old = await _held(session, known)
    gone = {one: held - set(keys[one]) for one, held in old.items()}
    before, after = await _changed(session, source_id, keys, gone)
    if any(gone.values()):
        await session.execute(delete(BlockKey).where(_any(BlockKey.document_id, known)))
    await _hold(session, source_id, keys)
    again = to_prepare_again(before, after) - set(keys)
    again |= {one for one, held in keys.items() if left_out(one, held, after) != set(without[one])}
    if known:
        right = [one for one in known if one not in again]
        await session.execute(delete(DocumentAgain).where(_any(DocumentAgain.document_id, right)))
    await mark(session, again)
    return after


async def release(session: AsyncSession, document_ids: Sequence[int]) -> None:
    """Documents are about to be deleted: those that come after them keep what they kept."""
    sources = select(Document.source_id).where(_any(Document.id, document_ids)).distinct()
    held = await _held(session, document_ids)
    for source_id in (await session.execute(sources)).scalars().all() if held else ():
        before, after = await _changed(session, source_id, {}, held)
        await mark(session, to_prepare_again(before, after) - set(document_ids))


async def cross(session: AsyncSession, source_id: int, document_id: int, change: int) -> None:
    """Other people may read a document now; ``change``: its readers' key before, crossed with the one after."""
    old = (await _held(session, [document_id])).get(document_id, set())
    if not old or not change:
        return
    new = {key ^ change for key in old}
    before, after = await _changed(session, source_id, {document_id: new}, {document_id: old})
    mine = update(BlockKey).where(BlockKey.document_id == document_id)
    await session.execute(mine.values(key=BlockKey.key.op("#")(literal(change, BigInteger))))
    again = to_prepare_again(before, after) - {document_id}
    if {key ^ change for key in left_out(document_id, old, before)} != left_out(document_id, new, after):
        again.add(document_id)
    await mark(session, again)


async def merged(session: AsyncSession, inner_id: int, source_id: int) -> None:
    """A source's documents have become another's."""
    await session.execute(update(BlockKey).where(BlockKey.source_id == inner_id).values(source_id=source_id))
    await session.execute(_MARK_SHARED, {"source_id": source_id, "minimum": MINIMUM})


async def mark(session: AsyncSession, document_ids: Collection[int]) -> None:
    if document_ids:
        await session.execute(_MARK, {"documents": sorted(document_ids)})


async def marked(
    session: AsyncSession, source_id: int, after: int, limit: int, untried: bool = False
) -> list[tuple[int, str]]:
    """Ids and external ids of a source's marked documents past the id ``after``, in order."""
    mine = (Document.source_id == source_id, Document.id > after)
    statement = select(Document.id, Document.external_id).join(DocumentAgain, DocumentAgain.document_id == Document.id)
    if untried:
        statement = statement.where(~DocumentAgain.tried)
    rows = await session.execute(statement.where(*mine).order_by(Document.id).limit(limit))
    return [(row.id, row.external_id) for row in rows]


async def tried(session: AsyncSession, document_ids: Sequence[int]) -> None:
    """What is still marked of these could not be prepared again now."""
    await session.execute(update(DocumentAgain).where(_any(DocumentAgain.document_id, document_ids)).values(tried=True))


async def take_marked(session: AsyncSession) -> list[int]:
    """Sources that nobody reads now and that have documents to prepare again; each such document is named once."""
    idle = exists().where(Document.id == DocumentAgain.document_id, Document.source_id == Source.id)
    taken = update(DocumentAgain).where(~DocumentAgain.tried, idle.where(Source.busy_run.is_(None)))
    ids = (await session.execute(taken.values(tried=True).returning(DocumentAgain.document_id))).scalars().all()
    sources = select(Document.source_id).where(_any(Document.id, ids)).distinct()
    return list((await session.execute(sources)).scalars()) if ids else []


async def _held(session: AsyncSession, document_ids: Collection[int]) -> dict[int, set[int]]:
    """Document id -> keys, for those that have any."""
    found: dict[int, set[int]] = {}
    if document_ids:
        columns = select(BlockKey.document_id, BlockKey.key).where(_any(BlockKey.document_id, document_ids))
        for document_id, key in await session.execute(columns):
            found.setdefault(document_id, set()).add(key)
    return found


async def _changed(
    session: AsyncSession, source_id: int, come: Mapping[int, Collection[int]], go: Mapping[int, Collection[int]]
) -> tuple[Holders, Holders]:
    """The first holders before and after documents (id -> keys) come to hold keys, and cease to."""
    coming, going = _by_key(come), _by_key(go)
    affected = {*coming, *going}
    before = await holders(session, source_id, affected, MINIMUM + len({*come, *go}))
    after = {
        key: sorted((set(before.get(key, ())) | coming.get(key, set())) - (going.get(key, set())))
        for key in affected
    }  # fmt: skip
    return before, after


def _by_key(keys: Mapping[int, Collection[int]]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for document_id, some in keys.items():
        for key in some:
            found.setdefault(key, set()).add(document_id)
    return found


async def _hold(session: AsyncSession, source_id: int, keys: Mapping[int, Collection[int]]) -> None:
    pairs = sorted((key, document_id) for document_id, some in keys.items() for key in some)
    if pairs:
        values = {"keys": [key for key, _ in pairs], "documents": [document_id for _, document_id in pairs]}
        await session.execute(_HOLD, {"source_id": source_id, **values})


def _any(column: InstrumentedAttribute[int], ids: Collection[int]) -> ColumnElement[bool]:
    return column == any_(cast(list(ids), ARRAY(BigInteger)))
