"""An index of any size, filled by COPY with the rows that ingestion would have written. Goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database import documents, statistics, vectors
from assistant.database.migrate import upgrade
from assistant.database.session import Sessions, create_engine, create_reading_engine, create_sessions, with_option
from bench.scale_data import Floats, Window, first_round, named, real_vectors, windows
from bench.scale_data import vectors as vectors_of

MODEL = "scale"  # the name of the vectors' model
BATCH = 10_000  # windows in one transaction
WINDOWS_A_DOCUMENT = 5
INDEXES = {
    "uq_chunks_document_id_ordinal": "ALTER TABLE chunks ADD CONSTRAINT uq_chunks_document_id_ordinal"
    " UNIQUE (document_id, ordinal)",
    "ix_chunks_text_hash": "CREATE INDEX ix_chunks_text_hash ON chunks (text_hash)",
    "ix_chunks_terms": "CREATE INDEX ix_chunks_terms ON chunks USING gin (terms) WITH (fastupdate = off)",
    "ix_chunks_heavy": "CREATE INDEX ix_chunks_heavy ON chunks USING gin (heavy) WITH (fastupdate = off)",
}
SOON = [name for name in INDEXES if name.startswith("ix_")]
_COLUMNS = (
    "id, document_id, ordinal, text, heading_path, readers, text_hash, terms, frequencies, length, weights, heavy"
)


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is ready. ``seconds``: what its parts took to make in this run.

    ``reading``: sessions of the role that people read with.
    """

    size: int
    reading: Sessions
    model: vectors.Model
    seconds: dict[str, float]
    bytes: dict[str, int]


@asynccontextmanager
async def index(server_url: str, size: int) -> AsyncIterator[Index]:
    """The index of ``size`` windows, a multiple of ``BATCH``, in a database of its own; what is absent is made."""
    url = _database(server_url, f"scale_{named(size)}")
    engine = create_engine(url)
    await upgrade(engine)
    sessions = create_sessions(engine)
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, MODEL)
        model = next(iter(await vectors.models(session)))
    plain = url.replace("postgresql+psycopg", "postgresql")
    rows = _fill(plain, size, model)
    seconds = ({"rows": rows} if rows else {}) | await _finish(engine, sessions, plain, size, model)
    reader = create_reading_engine(with_option(url, "almanac.readers={everyone}"), pool_size=64)
    yield Index(size, create_sessions(reader), model, seconds, _bytes(plain, model))
    await reader.dispose()
    await engine.dispose()


def _database(server_url: str, name: str) -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(f'CREATE DATABASE "{name}"')
    return server_url.replace("/postgres?", f"/{name}?", 1)


def _fill(url: str, size: int, model: vectors.Model) -> float:
    """Copy the rows that are missing; seconds."""
    start = time.perf_counter()
    with psycopg.connect(url) as connection:
        [there] = connection.execute("SELECT count(*) FROM chunks").fetchone() or (0,)
        if there == size:
            return 0.0
        connection.execute("ALTER TABLE chunks DROP CONSTRAINT IF EXISTS uq_chunks_document_id_ordinal")
        connection.execute(f"DROP INDEX IF EXISTS {', '.join(SOON)}, {_hnsw(model)}")
        connection.execute(
            "INSERT INTO sources (id, kind, location, name) OVERRIDING SYSTEM VALUE"
            " VALUES (1, 'folder', '/scale', 'scale') ON CONFLICT DO NOTHING"
        )
        connection.commit()
        real, mean = real_vectors(), _mean_length()
        batch: list[Window] = []
        for window in windows(there, size):
            batch.append(window)
            if len(batch) == BATCH:
                _copy(connection, batch, real, mean, model)
                connection.commit()
                there += len(batch)
                batch = []
                print(f"scale, {size:,}: {there:,} rows after {time.perf_counter() - start:.0f} s", flush=True)
    return time.perf_counter() - start


def _mean_length() -> float:
    """The mean length of the first round's windows, of which all others are made."""
    lengths = [sum(window.counts.values()) for window in windows(0, first_round())]
    return sum(lengths) / len(lengths)


def _copy(
    connection: psycopg.Connection[Any], batch: list[Window], real: Floats, mean: float, model: vectors.Model
) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY documents (id, source_id, external_id, title, url, content_hash, readers) FROM STDIN"
        ) as copy:
            for number in sorted({window.number // WINDOWS_A_DOCUMENT for window in batch}):
                copy.write_row((number, 1, f"{number}.md", f"Page {number}", None, "", ["everyone"]))
        with cursor.copy(f"COPY chunks ({_COLUMNS}) FROM STDIN") as copy:
            for window in batch:
                copy.write_row(_row(window, mean))
        with cursor.copy(f"COPY vectors_{model.id} FROM STDIN (FORMAT BINARY)") as copy:
            centres = np.array([window.centre for window in batch])
            made = vectors_of(centres, batch[0].number, real)
            copy.write(vectors.copy_binary([window.text_hash for window in batch], made))
        cursor.execute(
            "UPDATE corpus_statistics SET chunks = chunks + %s, length = length + %s, weighted_length = %s",
            (len(batch), sum(sum(window.counts.values()) for window in batch), mean),
        )


def _row(window: Window, mean: float) -> tuple[Any, ...]:
    terms = sorted(window.counts)
    frequencies = [window.counts[term] for term in terms]
    length = sum(frequencies)
    columns = statistics.weighed(terms, frequencies, length, mean)
    document, ordinal = divmod(window.number, WINDOWS_A_DOCUMENT)
    return (
        window.number, document, ordinal, window.text, [], ["everyone"], window.text_hash, terms, frequencies, length,
        columns["weights"], columns["heavy"],
    )  # fmt: skip


async def _finish(
    engine: AsyncEngine, sessions: Sessions, url: str, size: int, model: vectors.Model
) -> dict[str, float]:
    """Statistics and indexes that are missing; seconds of each."""
    seconds: dict[str, float] = {}

    def done(name: str, start: float) -> None:
        seconds[name] = time.perf_counter() - start
        print(f"scale, {size:,}: {name} in {seconds[name]:.0f} s", flush=True)

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET max_parallel_maintenance_workers = 0")
        for name, statement in INDEXES.items():
            if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
                start = time.perf_counter()
                connection.execute(statement)
                done(name, start)
        if connection.execute("SELECT 1 FROM terms LIMIT 1").fetchone() is None:
            start = time.perf_counter()
            connection.execute(
                "INSERT INTO terms SELECT term, count(*), 0, 0, 0, 0 FROM chunks, unnest(terms) AS term GROUP BY term"
            )
            async with sessions.begin() as session:
                await statistics.count_tiers(session)
            done("terms", start)
        if connection.execute("SELECT to_regclass(%s)", (_hnsw(model),)).fetchone() == (None,):
            start = time.perf_counter()
            async with sessions.begin() as session:
                await vectors.index(session, model)
            done("hnsw", start)
            start = time.perf_counter()
            connection.execute("VACUUM ANALYZE")
            done("vacuum", start)
    await engine.dispose()
    return seconds


def _hnsw(model: vectors.Model) -> str:
    return f"vectors_{model.id}_hnsw"


def _bytes(url: str, model: vectors.Model) -> dict[str, int]:
    names = {
        "chunks": "chunks", "terms index": "ix_chunks_terms", "heavy index": "ix_chunks_heavy", "terms": "terms",
        "vectors": f"vectors_{model.id}", "hnsw": _hnsw(model),
    }  # fmt: skip
    with psycopg.connect(url) as connection:
        sizes = {name: _size(connection, f"pg_table_size('{table}')") for name, table in names.items()}
        return {**sizes, "all": _size(connection, "pg_database_size(current_database())")}


def _size(connection: psycopg.Connection[Any], what: str) -> int:
    [size] = connection.execute(f"SELECT {what}").fetchone() or (0,)
    return int(size)
