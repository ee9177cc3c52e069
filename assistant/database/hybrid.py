"""Hybrid search in SQL: the candidates of BM25 and of the vectors, scored by both and fused, in one statement.

Each arm names its best candidates. The union is then scored by both, so that a passage that only one arm named still
has its true score in the other; scores are min-max-normalised over the union and added. Scores beat ranks here on
every collection that was tried (see benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg.errors import UndefinedTable
from sqlalchemy import TextClause
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.conditions import EVERY, Condition
from assistant.database.tables import TERM_SPACE
from assistant.database.vectors import Model
from assistant.knowledge.audience import Audience
from assistant.knowledge.impact import CEILINGS


class ModelDropped(Exception):
    """The table of the model's vectors is gone: another model answers now."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is searched for. ``vector``: pgvector's text form; ``share``: of BM25 in the score, 0..1.

    ``candidates``: of each arm; ``documents``: which ones may be found, beside their readers. A ``limit`` beyond the
    candidates adds deeper ones behind them, and changes nothing about what comes first. ``boosts``: what each term
    counts for beside its rarity; empty: 1 each.
    """

    terms: Sequence[int]
    vector: str
    audience: Audience
    candidates: int
    limit: int
    share: float
    documents: Condition = EVERY
    boosts: Sequence[float] = ()


_OF_DOCUMENTS = """
    AND c.document_id IN (SELECT d.id FROM documents d WHERE @CONDITION)"""

_DOCUMENT_IDS = """(SELECT coalesce(array_agg(d.id), '{}') FROM documents d WHERE @CONDITION)"""

_STATEMENT = """
WITH corpus AS MATERIALIZED (SELECT greatest(chunks, 1) AS n FROM corpus_statistics),
question AS MATERIALIZED (
    SELECT asked.term, asked.boost, least(coalesce(t.chunks, 0), n) AS df, n
    FROM corpus, unnest(CAST(:terms AS integer[]), CAST(:boosts AS float8[])) AS asked(term, boost)
         LEFT JOIN terms t USING (term)
),
weighted AS MATERIALIZED (SELECT term, boost * ln(1 + (n - df + 0.5) / (df + 0.5)) AS idf FROM question),
weights AS MATERIALIZED (
    SELECT CAST('{' || string_agg(term || ':' || idf, ',' ORDER BY term) || '}/@TERM_SPACE' AS sparsevec) AS vector,
           json_object_agg(term, idf) AS by_term, array_agg(term) AS terms, array_agg(idf) AS idfs
    FROM weighted
),
lexical AS MATERIALIZED (
    SELECT l.id, l.bm25, row_number() OVER (ORDER BY l.bm25 DESC, l.id) AS rank
    FROM weights w, lexical_candidates(
        w.terms, w.idfs, w.vector, CAST(:ceilings AS float8[]), CAST(:readers AS text[]), @DOCUMENT_IDS,
        CAST(:lexical_candidates AS integer)) AS l
    WHERE w.terms IS NOT NULL
),
semantic AS MATERIALIZED (
    SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (SELECT c.id, v.embedding <=> CAST(:vector AS halfvec) AS distance
          FROM @VECTORS v JOIN chunks c USING (text_hash)
          WHERE c.readers && CAST(:readers AS text[])@OF_DOCUMENTS
          ORDER BY v.embedding <=> CAST(:vector AS halfvec) LIMIT :semantic_candidates) AS nearest
),
scored AS MATERIALIZED (
    SELECT id, l.rank AS bm25_rank, s.rank AS vector_rank,
           coalesce(l.bm25, -(c.weights <#> w.vector), 0) AS bm25,
           1 - coalesce(s.distance, (SELECT v.embedding <=> CAST(:vector AS halfvec) FROM @VECTORS v
                                     WHERE v.text_hash = c.text_hash), 1) AS cosine
    FROM lexical l FULL JOIN semantic s USING (id) JOIN chunks c USING (id), weights w
),
fused AS (
    SELECT scored.*, least(bm25_rank, vector_rank) > :candidates AS deeper,
           coalesce(:share * (bm25 - low_bm25) / nullif(high_bm25 - low_bm25, 0), 0)
           + coalesce((1 - :share) * (cosine - low_cosine) / nullif(high_cosine - low_cosine, 0), 0) AS score
    FROM scored, (SELECT min(bm25) AS low_bm25, max(bm25) AS high_bm25, min(cosine) AS low_cosine,
                         max(cosine) AS high_cosine FROM scored
                  WHERE least(bm25_rank, vector_rank) <= :candidates) AS range
),
best AS (
    SELECT *, CASE WHEN deeper THEN greatest(least(score, min(score) FILTER (WHERE NOT deeper) OVER ()), 0)
                   ELSE score END AS shown
    FROM fused ORDER BY deeper, score DESC, id LIMIT :limit
)
SELECT c.id, c.document_id, d.external_id, d.title, d.url, c.text, c.heading_path, c.anchor, c.page, c.ordinal,
       b.bm25, b.cosine, b.bm25_rank, b.vector_rank, b.shown, d.details, d.indexed_at,
       CASE WHEN row_number() OVER () = 1 THEN w.by_term END
FROM best b JOIN chunks c USING (id) JOIN documents d ON d.id = c.document_id, weights w
ORDER BY b.deeper, b.score DESC, b.id
"""


@lru_cache(maxsize=256)
def _statement(model: Model, of_documents: str) -> TextClause:
    condition = _OF_DOCUMENTS.replace("@CONDITION", of_documents) if of_documents else ""
    ids = _DOCUMENT_IDS.replace("@CONDITION", of_documents) if of_documents else "NULL"
    statement: TextClause = model.sql(
        _STATEMENT.replace("@TERM_SPACE", str(TERM_SPACE))
        .replace("@OF_DOCUMENTS", condition)
        .replace("@DOCUMENT_IDS", ids)
    )
    return statement


async def find(session: AsyncSession, model: Model, request: Request) -> Sequence[Any]:
    """Rows best first, each with the fields of ``assistant.knowledge.search.Hit`` in their order, and the terms' idf
    (a dictionary, in the first row only). Raises ``ModelDropped``."""
    deep = max(request.candidates, request.limit)
    parameters: dict[str, Any] = {
        "terms": list(request.terms),
        "boosts": list(request.boosts) or [1.0] * len(request.terms),
        "vector": request.vector,
        "readers": sorted(request.audience.principals),
        # An arm that has no share in the score names nothing: BM25 alone is BM25, and costs what it costs.
        "lexical_candidates": deep if request.share > 0 else 0,
        "semantic_candidates": deep if request.share < 1 else 0,
        "candidates": request.candidates,
        "ceilings": list(CEILINGS),
        "share": request.share,
        "limit": request.limit,
        **dict(request.documents.parameters),
    }
    try:
        return (await session.execute(_statement(model, request.documents.sql), parameters)).all()
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedTable):
            raise
        raise ModelDropped(model.name) from None
