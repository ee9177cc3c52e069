"""Search in SQL: the candidates of BM25 and of the vectors, scored by both, in one statement.

Each arm names its best candidates. The union is then scored by both, so that a passage that only one arm named still
has its true score in the other. ``assistant.knowledge.ranking`` puts them in order; then the passages are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg.errors import UndefinedFunction, UndefinedTable
from sqlalchemy import TextClause, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.conditions import EVERY, Condition
from assistant.database.session import admit
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
    counts for beside its rarity; empty: 1 each. ``with_vectors``: the candidates bring theirs.
    """

    terms: Sequence[int]
    vector: str
    audience: Audience
    candidates: int
    limit: int
    share: float
    documents: Condition = EVERY
    boosts: Sequence[float] = ()
    with_vectors: bool = False


_DOCUMENT_IDS = """(SELECT coalesce(array_agg(d.id), '{}') FROM documents d WHERE @CONDITION)"""

_STATEMENT = """
WITH allowed AS MATERIALIZED (SELECT @DOCUMENT_IDS AS documents),
corpus AS MATERIALIZED (SELECT greatest(chunks, 1) AS n FROM corpus_statistics),
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
    FROM weights w, allowed a, readable_lexical_candidates(
        w.terms, w.idfs, w.vector, CAST(:ceilings AS float8[]), a.documents,
        CAST(:lexical_candidates AS integer)) AS l
    WHERE w.terms IS NOT NULL
    LIMIT :lexical_candidates  -- for the planner, which takes a function for a thousand rows
),
semantic AS MATERIALIZED (
    SELECT n.id, n.distance, row_number() OVER (ORDER BY n.distance, n.id) AS rank
    FROM allowed a, @VECTORS_nearest(CAST(:vector AS halfvec), a.documents, CAST(:semantic_candidates AS integer)) AS n
    LIMIT :semantic_candidates
),
found AS MATERIALIZED (
    SELECT id, l.bm25, l.rank AS bm25_rank, s.rank AS vector_rank FROM lexical l FULL JOIN semantic s USING (id)
)
SELECT f.id, c.document_id, coalesce(f.bm25, -(c.weights <#> w.vector), 0) AS bm25,
       coalesce(1 - (v.embedding <=> CAST(:vector AS halfvec)), 0) AS cosine, f.bm25_rank, f.vector_rank,
       least(f.bm25_rank, f.vector_rank) > :candidates AS deeper,
       CASE WHEN :with_vectors AND least(f.bm25_rank, f.vector_rank) <= :candidates
            THEN halfvec_send(v.embedding) END AS vector,
       CASE WHEN row_number() OVER () = 1 THEN w.by_term END AS by_term
FROM found f JOIN chunks c USING (id) LEFT JOIN @VECTORS v ON v.text_hash = c.text_hash, weights w
"""

_PASSAGES = """
SELECT c.id, c.document_id, d.external_id, d.title, d.url, c.text, c.heading_path, c.anchor, c.page, c.ordinal,
       d.details, d.indexed_at, @KEPT, j.judge, j.text_key, j.verdict, j.verdict_score, j.reasons
FROM chunks c JOIN documents d ON d.id = c.document_id
     LEFT JOIN LATERAL (SELECT v.judge, v.text_key, v.verdict, v.score AS verdict_score, v.reasons
                        FROM passage_verdicts v WHERE v.chunk_id = c.id OFFSET 0) AS j ON true
WHERE c.id = ANY(CAST(:ids AS bigint[])) AND c.readers && CAST(:readers AS text[])
"""
_PLAIN = text(_PASSAGES.replace("@KEPT", "CAST(NULL AS bytea) AS tokens"))
# Row by row, by the primary key, whatever the planner knows of the table.
_TOKENS = "(SELECT t.tokens FROM @TOKENS t WHERE t.text_hash = c.text_hash) AS tokens"


@lru_cache(maxsize=256)
def _statement(model: Model, of_documents: str) -> TextClause:
    ids = _DOCUMENT_IDS.replace("@CONDITION", of_documents) if of_documents else "CAST(NULL AS bigint[])"
    statement: TextClause = model.sql(_STATEMENT.replace("@TERM_SPACE", str(TERM_SPACE)).replace("@DOCUMENT_IDS", ids))
    return statement


async def named(session: AsyncSession, model: Model, request: Request) -> Sequence[Any]:
    """The candidates of both arms in no order: id, document_id, bm25, cosine, bm25_rank, vector_rank, deeper, vector
    (see ``assistant.knowledge.embedding.unpacked``; None unless asked for), by_term (the terms' idf, a dictionary, in
    the first row only). Raises ``ModelDropped``."""
    await admit(session, request.audience)
    deep = max(request.candidates, request.limit)
    parameters: dict[str, Any] = {
        "terms": list(request.terms),
        "boosts": list(request.boosts) or [1.0] * len(request.terms),
        "vector": request.vector,
        # An arm that has no share in the score names nothing: BM25 alone is BM25, and costs what it costs.
        "lexical_candidates": deep if request.share > 0 else 0,
        "semantic_candidates": deep if request.share < 1 else 0,
        "candidates": request.candidates,
        "ceilings": list(CEILINGS),
        "with_vectors": request.with_vectors,
        **dict(request.documents.parameters),
    }
    with _dropped(model):
        return (await session.execute(_statement(model, request.documents.sql), parameters)).all()


async def passages(
    session: AsyncSession, ids: Sequence[int], audience: Audience, tokens_of: Model | None = None
) -> dict[int, Any]:
    """What the chunks say, by their ids; without those that are gone, or that the audience may not read (any more).

    ``tokens_of``: with the vectors that this model has of their tokens, None where it has none. Raises
    ``ModelDropped``.
    """
    parameters = {"ids": list(ids), "readers": sorted(audience.principals)}
    with _dropped(tokens_of):
        return {row.id: row for row in await session.execute(_passages(tokens_of), parameters)}


@lru_cache(maxsize=16)
def _passages(tokens_of: Model | None) -> TextClause:
    statement: TextClause = _PLAIN if tokens_of is None else tokens_of.sql(_PASSAGES.replace("@KEPT", _TOKENS))
    return statement


class Reads:
    """The statements of a search, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def named(self, model: Model, request: Request) -> Sequence[Any]:
        return await named(self.session, model, request)

    async def passages(
        self, ids: Sequence[int], audience: Audience, tokens_of: Model | None = None
    ) -> Mapping[int, Any]:
        return await passages(self.session, ids, audience, tokens_of)


@contextmanager
def _dropped(model: Model | None) -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if model is None or not isinstance(error.orig, UndefinedFunction | UndefinedTable):
            raise
        raise ModelDropped(model.name) from None
