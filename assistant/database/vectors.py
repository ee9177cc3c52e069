"""The embedding models of the index and their vectors: one table a model, in which what was embedded finds its vector.

A chunk names its vector by the hash of the text that was embedded, so that a page that moves, comes back or is cut
anew finds the vectors it had. Every chunk that is written has the vectors of every model of the registry
(``require``); only a model that is being built lacks those of older chunks.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import token_vectors
from assistant.database.tables import EmbeddingModel
from assistant.errors import AlmanacError

STATISTICS_LOCK = 0x414C4D42  # one writer of chunks at a time: statistics never deadlock, and a switch sees all chunks
MOST_DIMENSIONS = 4_000  # that HNSW can index at half precision
EXACT_UP_TO = 2_000  # vectors; an exact scan of so few is as fast as the index, and finds all
MOST_BUILD_MEGABYTES = 4_096  # of the server's memory, for building an index
KEEP_DAYS = 7  # vectors that no chunk uses


class VectorsMissing(AlmanacError):
    """Chunks were to be written for which a model of the index has no vectors yet."""


@dataclass(frozen=True, slots=True)
class Model:
    """A row of the registry; see ``assistant.database.tables.EmbeddingModel``."""

    id: int
    name: str
    folder: str | None
    dimensions: int
    fingerprint: str | None
    state: str
    activated_at: datetime | None

    def sql(self, statement: str) -> Any:
        """``statement`` with this model's tables in the place of ``@VECTORS`` and ``@TOKENS``."""
        return text(statement.replace("@VECTORS", f"vectors_{self.id}").replace("@TOKENS", f"tokens_{self.id}"))


@dataclass(frozen=True, slots=True)
class Lacking:
    """A passage that a model has no vector of. ``previous`` is the text of the chunk before it in its document."""

    text_hash: uuid.UUID
    title: str
    heading_path: tuple[str, ...]
    text: str
    previous: str


_COLUMNS = (
    EmbeddingModel.id, EmbeddingModel.name, EmbeddingModel.folder, EmbeddingModel.dimensions,
    EmbeddingModel.fingerprint, EmbeddingModel.state, EmbeddingModel.activated_at,
)  # fmt: skip


async def lock(session: AsyncSession) -> None:
    """Be the only writer of chunks until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(STATISTICS_LOCK)))


async def models(session: AsyncSession, *, hold: bool = False) -> list[Model]:
    """The registry, oldest first; with ``hold`` none of them is dropped before the transaction ends."""
    statement = select(*_COLUMNS).order_by(EmbeddingModel.id)
    if hold:
        statement = statement.with_for_update(read=True, key_share=True)
    return [Model(*row) for row in await session.execute(statement)]


async def add(
    session: AsyncSession,
    name: str,
    dimensions: int,
    state: str,
    folder: str | None = None,
    fingerprint: str | None = None,
) -> Model:
    """Register a model and create its tables. The HNSW index comes with the vectors (``index``)."""
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise AlmanacError(
            f"{name} has vectors of {dimensions} dimensions; the index can hold up to {MOST_DIMENSIONS}."
        )
    values = {"name": name, "folder": folder, "dimensions": dimensions, "fingerprint": fingerprint, "state": state}
    activated = func.now() if state == "active" else None
    new = insert(EmbeddingModel).values(**values, activated_at=activated).returning(*_COLUMNS)
    model = Model(*(await session.execute(new)).one())
    await session.execute(
        model.sql(f"CREATE TABLE @VECTORS (text_hash uuid PRIMARY KEY, embedding halfvec({dimensions}) NOT NULL)")
    )
    await session.execute(model.sql("ALTER TABLE @VECTORS ALTER COLUMN embedding SET STORAGE PLAIN"))
    await session.execute(model.sql("SELECT open_vectors('@VECTORS')"))  # to readers, by row
    await token_vectors.make(session, model)
    return model


async def change(session: AsyncSession, model_id: int, **values: Any) -> None:
    await session.execute(update(EmbeddingModel).where(EmbeddingModel.id == model_id).values(**values))


async def drop(session: AsyncSession, model: Model) -> None:
    """Forget a model and all its vectors."""
    await lock(session)
    await session.execute(delete(EmbeddingModel).where(EmbeddingModel.id == model.id))
    await session.execute(model.sql("SELECT close_vectors('@VECTORS')"))
    await session.execute(model.sql("DROP TABLE IF EXISTS @TOKENS, @VECTORS"))


async def activate(session: AsyncSession, model: Model) -> None:
    """Let ``model`` answer questions from now on; the one that did stays in step with the documents."""
    await lock(session)
    if lacks := await count_lacking(session, model):
        raise AlmanacError(f"{model.name} still lacks {lacks} passages; `almanac reembed --model FOLDER` goes on.")
    await session.execute(update(EmbeddingModel).where(EmbeddingModel.state == "active").values(state="standby"))
    await change(session, model.id, state="active", activated_at=func.now())


async def missing(
    session: AsyncSession, hashes: Sequence[uuid.UUID], *, hold: bool = False
) -> list[tuple[Model, list[uuid.UUID]]]:
    """Each model of the registry with those of ``hashes`` that it has no vector of, each once and in order."""
    distinct = list(dict.fromkeys(hashes))
    found = []
    for model in await models(session, hold=hold):
        rows = await session.execute(
            model.sql("SELECT text_hash FROM @VECTORS WHERE text_hash = ANY(:hashes)"), {"hashes": distinct}
        )
        known = set(rows.scalars())
        found.append((model, [text_hash for text_hash in distinct if text_hash not in known]))
    return found


async def require(session: AsyncSession, hashes: Sequence[uuid.UUID]) -> None:
    """Raise ``VectorsMissing`` unless there is a model, and every one has every vector. Call it under ``lock``."""
    found = await missing(session, hashes)
    if not found:
        raise VectorsMissing("The index has no embedding model yet.")
    for model, lacking in found:
        if lacking:
            raise VectorsMissing(f"{model.name} lacks the vectors of {len(lacking)} passages.")


async def write(
    session: AsyncSession,
    model: Model,
    hashes: Sequence[uuid.UUID],
    rows: npt.NDArray[np.float32],
    tokens: Sequence[bytes] | None = None,
) -> None:
    """Store vectors, shape (hashes, dimensions), and their tokens'; what is there stays. A model that was dropped is
    passed over."""
    if len(hashes) == 0:
        return
    held = select(EmbeddingModel.id).where(EmbeddingModel.id == model.id).with_for_update(read=True, key_share=True)
    if (await session.execute(held)).first() is None:
        return
    await session.execute(
        text("CREATE TEMP TABLE IF NOT EXISTS new_vectors (text_hash uuid, embedding halfvec) ON COMMIT DELETE ROWS")
    )
    connection = (await (await session.connection()).get_raw_connection()).driver_connection
    assert connection is not None
    async with connection.cursor() as cursor, cursor.copy("COPY new_vectors FROM STDIN (FORMAT BINARY)") as copy:
        await copy.write(copy_binary(hashes, rows))
    # In one order everywhere, so that two writers of the same texts wait for each other and do not deadlock.
    await session.execute(
        model.sql("INSERT INTO @VECTORS SELECT * FROM new_vectors ORDER BY text_hash ON CONFLICT DO NOTHING")
    )
    await session.execute(text("DELETE FROM new_vectors"))  # for a second call in the same transaction
    if tokens is not None:
        await token_vectors.write(session, model, hashes, tokens)


def copy_binary(hashes: Sequence[uuid.UUID], rows: npt.NDArray[np.float32]) -> bytes:
    """Rows (uuid, halfvec) in Postgres' binary COPY format, packed at once: every row has the same layout."""
    count, dimensions = rows.shape
    packed = np.zeros(
        count,
        dtype=[
            ("fields", ">i2"), ("hash_bytes", ">i4"), ("hash", "V16"), ("vector_bytes", ">i4"),
            ("dimensions", ">i2"), ("unused", ">i2"), ("vector", ">f2", (dimensions,)),
        ],
    )  # fmt: skip
    packed["fields"], packed["hash_bytes"], packed["vector_bytes"] = 2, 16, 4 + 2 * dimensions
    packed["dimensions"] = dimensions
    packed["hash"] = np.frombuffer(b"".join(text_hash.bytes for text_hash in hashes), dtype="V16")
    packed["vector"] = rows
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + packed.tobytes() + b"\xff\xff"


async def count(session: AsyncSession, model: Model) -> int:
    return int((await session.execute(model.sql("SELECT count(*) FROM @VECTORS"))).scalar_one())


async def count_lacking(session: AsyncSession, model: Model, tokens: bool = False) -> int:
    """How many different texts of the index the model has no vector of; with ``tokens``, or none of their tokens."""
    counted = "SELECT count(DISTINCT c.text_hash) FROM chunks c WHERE @LACKS"  # one of our two conditions  # nosec B608
    statement = counted.replace("@LACKS", _LACKS[tokens])
    return int((await session.execute(model.sql(statement))).scalar_one())


_LACKS = {
    False: "NOT EXISTS (SELECT 1 FROM @VECTORS v WHERE v.text_hash = c.text_hash)",
    True: "NOT EXISTS (SELECT 1 FROM @TOKENS t WHERE t.text_hash = c.text_hash)",  # nor have those without a vector any
}


async def lacking(
    session: AsyncSession, model: Model, after: int, limit: int, tokens: bool = False
) -> tuple[list[Lacking], int]:
    """The next passages, by the ids of their chunks, that the model lacks; and the last of those ids.

    In the order of the documents, because a table filled in another one is searched a third slower.
    """
    statement = model.sql(_LACKING.replace("@LACKS", _LACKS[tokens]))
    rows = (await session.execute(statement, {"after": after, "limit": limit})).all()
    found = {
        row.text_hash: Lacking(row.text_hash, row.title, tuple(row.heading_path), row.text, row.previous)
        for row in rows
    }
    return list(found.values()), rows[-1].id if rows else after


_LACKING = """
    SELECT c.id, c.text_hash, d.title, c.heading_path, c.text, coalesce(p.text, '') AS previous
    FROM chunks c JOIN documents d ON d.id = c.document_id
    LEFT JOIN chunks p ON p.document_id = c.document_id AND p.ordinal = c.ordinal - 1
    WHERE c.id > :after AND @LACKS
    ORDER BY c.id LIMIT :limit"""


async def index_all(session: AsyncSession, more_than: int = EXACT_UP_TO) -> None:
    """Build what HNSW indexes are due; a model that is being built gets its own at its end, ten times as fast."""
    for model in await models(session):
        if model.state != "building":
            await index(session, model, more_than)


async def index(session: AsyncSession, model: Model, more_than: int = EXACT_UP_TO) -> None:
    """Build the HNSW index of a table that has outgrown exact scans and has none yet."""
    exists = model.sql("SELECT to_regclass(current_schema() || '.@VECTORS_hnsw') IS NOT NULL")
    if (await session.execute(exists)).scalar_one() or (rows := await count(session, model)) <= more_than:
        return
    await lock(session)  # two that build at once
    await session.execute(text(f"SET LOCAL maintenance_work_mem = '{build_megabytes(rows, model.dimensions)}MB'"))
    # Parallel workers would need more /dev/shm than a container has.
    await session.execute(text("SET LOCAL max_parallel_maintenance_workers = 0"))
    await session.execute(model.sql(_CREATE_INDEX))
    await session.execute(model.sql("ANALYZE @VECTORS"))


def build_megabytes(rows: int, dimensions: int) -> int:
    """Memory that holds the whole graph while it is built: once it does not fit, each further row takes many times as
    long. A row has its vector, two bytes a dimension, and at m = 16 a good kilobyte of neighbours and headers."""
    return max(64, min(MOST_BUILD_MEGABYTES, rows * (2 * dimensions + 1280) // 2**20))


_CREATE_INDEX = """
    CREATE INDEX IF NOT EXISTS @VECTORS_hnsw ON @VECTORS
    USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)"""


async def hashes_of(session: AsyncSession, document_ids: Sequence[int]) -> list[uuid.UUID]:
    """What the documents' chunks find their vectors by."""
    statement = text("SELECT DISTINCT text_hash FROM chunks WHERE document_id = ANY(:ids)")
    return list((await session.execute(statement, {"ids": list(document_ids)})).scalars())


async def purge(session: AsyncSession, hashes: Sequence[uuid.UUID]) -> None:
    """Remove these vectors now, of every model, unless a chunk still uses them."""
    await lock(session)
    for model in await models(session, hold=True):
        await session.execute(model.sql(_PURGE), {"hashes": list(hashes)})
    await session.execute(text("DELETE FROM idle_vectors WHERE text_hash = ANY(:hashes)"), {"hashes": list(hashes)})


_PURGE = """
    DELETE FROM @VECTORS v WHERE v.text_hash = ANY(:hashes)
    AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.text_hash = v.text_hash)"""


async def sweep(session: AsyncSession, keep_days: float = KEEP_DAYS) -> None:
    """Note the vectors that no chunk uses any more, and remove those that were noted ``keep_days`` ago."""
    await lock(session)
    registry = await models(session, hold=True)
    for model in registry:
        await session.execute(model.sql(_NOTE_IDLE))
    await session.execute(text(_NO_LONGER_IDLE))
    parameters = {"seconds": keep_days * 86_400}
    for model in registry:
        await session.execute(model.sql(_REMOVE_IDLE), parameters)
    await session.execute(text(_FORGET_IDLE), parameters)


_NOTE_IDLE = """
    INSERT INTO idle_vectors (text_hash) SELECT v.text_hash FROM @VECTORS v
    WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.text_hash = v.text_hash) ON CONFLICT DO NOTHING"""
_NO_LONGER_IDLE = "DELETE FROM idle_vectors i WHERE EXISTS (SELECT 1 FROM chunks c WHERE c.text_hash = i.text_hash)"
_REMOVE_IDLE = """
    DELETE FROM @VECTORS v USING idle_vectors i
    WHERE i.text_hash = v.text_hash AND i.since <= now() - make_interval(secs => :seconds)"""
_FORGET_IDLE = "DELETE FROM idle_vectors WHERE since <= now() - make_interval(secs => :seconds)"
