"""Recall and latency of the vector arm where the audience may read only a part of the index.

Synthetic, clustered vectors: 200 centres on the sphere, rows around them. Documents of five rows, all of one cluster.
Two kinds of audience for each share of the rows: ``random`` sees documents here and there, ``far`` sees whole clusters
that are not the questions' own, which is the hard case: an index of all vectors leads to what is hidden.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import text

from assistant.database import vectors
from assistant.database.scratch import scratch_schema, settle
from assistant.database.session import Sessions, admit, create_engine, create_reading_engine, create_sessions
from assistant.database.vectors import Model
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import halfvec_literal
from bench.world import server

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
KINDS = ("random", "far")
CENTRES = 200
SPREAD = 0.7  # of a row around its centre, as a share of the centre's length
TOGETHER = 5  # rows of a document
RECALL_AT = 10
CANDIDATES = 60

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Filtered:
    """One audience. ``recall``: at 10, the mean over the questions; ``worst``: the lowest of one; times in ms."""

    kind: str
    share: float
    rows: int
    recall: float
    worst: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Index:
    """``rows``: shape (rows, dimensions), of the chunks 1, 2, …; ``visible``: principal -> whether it sees each."""

    reading: Sessions
    model: Model
    rows: Floats
    questions: Floats
    visible: dict[str, npt.NDArray[np.bool_]]


def made(rows: int, dimensions: int, questions: int) -> tuple[Floats, Floats, dict[str, npt.NDArray[np.bool_]]]:
    """Vectors, questions (from the last tenth of the clusters), and who sees which document."""
    draw = np.random.default_rng(7)
    centres = _unit(draw.standard_normal((CENTRES, dimensions)))
    clusters = np.sort(draw.integers(0, CENTRES, rows // TOGETHER))
    order = draw.permutation(len(clusters))  # a document's place in the table tells nothing
    clusters = clusters[order]
    noise = draw.standard_normal((rows, dimensions)) * SPREAD / np.sqrt(dimensions)
    made_rows = _unit(np.repeat(centres[clusters], TOGETHER, axis=0) + noise)
    own = draw.integers(CENTRES * 9 // 10, CENTRES, questions)
    asked = _unit(centres[own] + draw.standard_normal((questions, dimensions)) * SPREAD / np.sqrt(dimensions))
    rank = np.empty(len(clusters))
    rank[np.argsort(clusters, kind="stable")] = np.arange(len(clusters)) / len(clusters)
    visible = {}
    for share in SHARES:
        visible[f"random:{share}"] = draw.random(len(clusters)) < share
        visible[f"far:{share}"] = rank < share
    return made_rows, asked, visible


@asynccontextmanager
async def index(url: str, rows: int, dimensions: int = 384, questions: int = 200) -> AsyncIterator[Index]:
    """In a schema of its own, for as long as the block lasts."""
    stored, asked, documents = made(rows, dimensions, questions)
    async with scratch_schema(url) as inside:
        engine, reader = create_engine(inside, pool_size=2), create_reading_engine(inside, pool_size=2)
        model = await _fill(create_sessions(engine), stored, documents)
        await settle(inside)
        seen = {name: np.repeat(mask, TOGETHER) for name, mask in documents.items()}
        yield Index(create_sessions(reader), model, stored, asked, seen)
        await engine.dispose()
        await reader.dispose()


async def measure(found: Index) -> list[Filtered]:
    """Every audience, as the reader's role, by the function that search uses."""
    return [await _one(found, kind, share) for kind in KINDS for share in SHARES]


async def _one(found: Index, kind: str, share: float) -> Filtered:
    name = f"{kind}:{share}"
    mask = found.visible[name]
    recalls, times = [], []
    async with found.reading() as session:
        await admit(session, Audience(frozenset({name})))
        statement = found.model.sql(
            "SELECT id FROM @VECTORS_nearest(CAST(:vector AS halfvec), NULL, :most) ORDER BY distance"
        )
        for question in found.questions:
            started = time.perf_counter()
            parameters = {"vector": halfvec_literal(question), "most": CANDIDATES}
            ids = list((await session.execute(statement, parameters)).scalars())
            times.append((time.perf_counter() - started) * 1_000)
            if any(not mask[number - 1] for number in ids):
                raise AssertionError(f"{name} was shown what it may not read")
            recalls.append(_recall(found.rows, question, mask, ids[:RECALL_AT]))
    p50, p95 = np.percentile(times, [50, 95])
    return Filtered(kind, share, int(mask.sum()), float(np.mean(recalls)), float(min(recalls)), float(p50), float(p95))


def _recall(rows: Floats, question: Floats, mask: npt.NDArray[np.bool_], ids: Sequence[int]) -> float:
    """Against all that is visible; what lies as near as the tenth counts as well (half precision ties)."""
    scores = np.where(mask, rows @ question, -2)
    most = min(RECALL_AT, int(mask.sum()))
    bar = np.partition(scores, -most)[-most] if most else 0.0
    return sum(bool(scores[number - 1] >= bar - 2e-4) for number in ids) / most if most else 1.0


async def _fill(sessions: Sessions, rows: Floats, documents: dict[str, npt.NDArray[np.bool_]]) -> Model:
    readers = [[name for name, mask in documents.items() if mask[number]] for number in range(len(rows) // TOGETHER)]
    async with sessions.begin() as session:
        model = await vectors.add(session, "synthetic", rows.shape[1], "active")
        await session.execute(text("INSERT INTO sources (kind, location, name) VALUES ('folder', '/f', 'filtered')"))
        await session.execute(text("UPDATE corpus_statistics SET chunks = :n, length = :n"), {"n": len(rows)})
        for start in range(0, len(readers), 2_000):
            some = [
                {"number": start + place + 1, "readers": names}
                for place, names in enumerate(readers[start : start + 2_000])
            ]
            await session.execute(_DOCUMENT, some)
        await session.execute(_CHUNKS, {"together": TOGETHER})
        for start in range(0, len(rows), 10_000):
            hashes = [uuid.UUID(int=number + 1) for number in range(start, min(start + 10_000, len(rows)))]
            await vectors.write(session, model, hashes, rows[start : start + 10_000])
        await vectors.index(session, model, 0)
    return model


_DOCUMENT = text(
    "INSERT INTO documents (id, source_id, external_id, title, content_hash, readers) OVERRIDING SYSTEM VALUE"
    " VALUES (:number, 1, CAST(CAST(:number AS bigint) AS text), 'T', '', CAST(:readers AS text[]))"
)
_CHUNKS = text(
    "INSERT INTO chunks (id, document_id, ordinal, text, heading_path, readers, text_hash, terms, frequencies, length,"
    " weights, heavy) OVERRIDING SYSTEM VALUE"
    " SELECT (d.id - 1) * :together + n + 1, d.id, n, repeat('Some words of a passage. ', 30), '{}', d.readers,"
    " CAST(lpad(to_hex((d.id - 1) * :together + n + 1), 32, '0') AS uuid), '{}', '{}', 1, '{}/1000000000', '{}'"
    " FROM documents d, generate_series(0, CAST(:together AS integer) - 1) AS n ORDER BY 1"
)


def _unit(rows: npt.NDArray[np.float64]) -> Floats:
    unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def report(results: list[Filtered], rows: int) -> None:
    for one in results:
        print(
            f"filtered, {rows:,} rows, {one.kind:6s} {one.share:6.1%} visible ({one.rows:>7,})  "
            f"recall@10 {one.recall:.4f} (worst {one.worst:.1f})  p50 {one.p50_ms:6.2f} ms  p95 {one.p95_ms:6.2f} ms"
        )


async def main(rows: int = 100_000) -> None:
    with server() as url:
        async with index(url, rows) as found:
            report(await measure(found), rows)


if __name__ == "__main__":
    asyncio.run(main())
