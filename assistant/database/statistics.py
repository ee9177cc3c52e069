"""BM25's statistics and the chunks' weights, kept exact by the transaction that writes chunks.

Call everything here under ``assistant.database.vectors.lock``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import vectors
from assistant.database.tables import Chunk, CorpusStatistics
from assistant.knowledge.impact import TIERS, marks, unmark
from assistant.knowledge.lexical import saturate, sparse_literal

MEAN_LENGTH_DRIFT = 0.05  # weights are computed anew when the mean has moved by more than this share
REWEIGHED = 2_000  # chunks in one statement


async def mean_length(session: AsyncSession) -> float:
    """The mean length that the stored weights were computed with."""
    return float((await session.execute(select(CorpusStatistics.weighted_length))).scalar_one())


def weighed(terms: Sequence[int], frequencies: Sequence[int], length: int, mean: float) -> dict[str, Any]:
    """The columns of a chunk that depend on the mean length."""
    weights = saturate(frequencies, length, mean)
    return {"weights": sparse_literal(terms, weights), "heavy": marks(terms, weights)}


async def count(session: AsyncSession, chunks: Iterable[tuple[Sequence[int], Sequence[int], int]], sign: int) -> None:
    """Take chunks, each with its terms, marks and length, into the statistics (``sign`` 1) or out of them (-1)."""
    found: Counter[tuple[int, int]] = Counter()  # of (term, tier); tier 0 counts the term in any tier
    added = length = 0
    for terms, heavy, words in chunks:
        found.update((term, 0) for term in terms)
        found.update(map(unmark, heavy))
        added, length = added + sign, length + sign * words
    if not added:
        return
    ordered = sorted({term for term, _ in found})
    counts = {f"tier_{tier}": [sign * found[term, tier] for term in ordered] for tier in range(TIERS + 1)}
    await session.execute(_COUNT, {"terms": ordered, "added": added, "length": length, **counts})


_COUNT = text(
    "WITH counted AS (INSERT INTO terms (term, chunks, tier_1, tier_2, tier_3, tier_4)"
    " SELECT * FROM unnest(CAST(:terms AS integer[]), CAST(:tier_0 AS integer[]), CAST(:tier_1 AS integer[]),"
    " CAST(:tier_2 AS integer[]), CAST(:tier_3 AS integer[]), CAST(:tier_4 AS integer[]))"
    " ON CONFLICT (term) DO UPDATE SET chunks = terms.chunks + excluded.chunks,"
    " tier_1 = terms.tier_1 + excluded.tier_1, tier_2 = terms.tier_2 + excluded.tier_2,"
    " tier_3 = terms.tier_3 + excluded.tier_3, tier_4 = terms.tier_4 + excluded.tier_4)"
    " UPDATE corpus_statistics SET chunks = chunks + :added, length = length + :length"
)


async def reweigh_if_drifted(session: AsyncSession) -> bool:
    """Compute every chunk's BM25 weights anew when the mean length has moved away from the one they were made with."""
    await vectors.lock(session)
    row = (await session.execute(select(CorpusStatistics).with_for_update())).scalar_one()
    if row.chunks == 0 or row.length == 0:  # nothing, or nothing but words that are too common to count
        return False
    mean = row.length / row.chunks
    if abs(mean - row.weighted_length) <= MEAN_LENGTH_DRIFT * row.weighted_length:
        return False
    row.weighted_length = mean
    await session.flush()
    last = 0
    while batch := await _chunks_after(session, last):
        last = batch[-1].id
        rows = [
            {"id": chunk.id, **weighed(chunk.terms, chunk.frequencies, chunk.length, mean)} for chunk in batch
        ]  # fmt: skip
        await session.execute(_REWEIGH, {"rows": orjson.dumps(rows).decode()})
    await session.execute(text("DELETE FROM terms WHERE chunks <= 0"))
    await count_tiers(session)
    return True


async def count_tiers(session: AsyncSession) -> None:
    """Count the chunks of each term and tier anew."""
    await session.execute(_COUNT_TIERS)


_REWEIGH = text(
    "UPDATE chunks c SET weights = row.weights, heavy = row.heavy"
    " FROM json_to_recordset(CAST(:rows AS json)) AS row(id bigint, weights sparsevec, heavy integer[])"
    " WHERE c.id = row.id"
)

_COUNT_TIERS = text(
    "WITH counted AS (SELECT CASE WHEN abs(number) > 1000000000 THEN abs(number) - 1000000000 ELSE abs(number) END"
    " AS term, count(*) FILTER (WHERE number BETWEEN 1 AND 1000000000) AS tier_1,"
    " count(*) FILTER (WHERE number BETWEEN -1000000000 AND -1) AS tier_2,"
    " count(*) FILTER (WHERE number > 1000000000) AS tier_3, count(*) FILTER (WHERE number < -1000000000) AS tier_4"
    " FROM chunks, unnest(heavy) AS number GROUP BY 1)"
    " UPDATE terms t SET tier_1 = coalesce(c.tier_1, 0), tier_2 = coalesce(c.tier_2, 0),"
    " tier_3 = coalesce(c.tier_3, 0), tier_4 = coalesce(c.tier_4, 0)"
    " FROM terms every LEFT JOIN counted c USING (term) WHERE t.term = every.term"
    " AND (t.tier_1, t.tier_2, t.tier_3, t.tier_4) IS DISTINCT FROM"
    " (coalesce(c.tier_1, 0), coalesce(c.tier_2, 0), coalesce(c.tier_3, 0), coalesce(c.tier_4, 0))"
)


async def _chunks_after(session: AsyncSession, last: int) -> Sequence[Any]:
    statement = select(Chunk.id, Chunk.terms, Chunk.frequencies, Chunk.length).where(Chunk.id > last)
    return (await session.execute(statement.order_by(Chunk.id).limit(REWEIGHED))).all()
