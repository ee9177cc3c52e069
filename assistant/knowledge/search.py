"""Hybrid search: BM25 and vectors, fused in one Postgres round trip, under the audience's permissions.

Each arm names its best candidates. The union is then scored by both, so that a passage that only one arm named still
has its true score in the other; scores are min-max-normalised over the union and added. Scores beat ranks here on
every collection that was tried (see benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from psycopg.errors import UndefinedTable
from sqlalchemy import TextClause
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import Sessions
from assistant.database.tables import TERM_SPACE
from assistant.database.vectors import Model, models
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedders import Embedders, pinned
from assistant.knowledge.embedding import Embedder, halfvec_literal
from assistant.knowledge.lexical import query_terms

CANDIDATES = 60  # of each arm; more change nothing in the first ten (see benchmarks.md)
COMMON = 0.1  # terms in more than this share of all chunks name no candidates, unless the question has no other
ATTEMPTS = 3  # to find the model that is active, while models change
BM25_SHARE = 0.4  # of the fused score; the rest is the vectors' (see benchmarks.md)


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. Ranks count from 1; None: that arm did not name it among its candidates.

    ``bm25`` is the BM25 score, ``cosine`` the similarity of question and passage, ``score`` the fusion in 0..1.
    """

    chunk_id: int
    document_id: int
    external_id: str
    title: str
    url: str | None
    text: str
    heading_path: tuple[str, ...]
    anchor: str | None
    page: int | None
    ordinal: int
    bm25: float
    cosine: float
    bm25_rank: int | None
    vector_rank: int | None
    score: float
    details: Mapping[str, Any] = field(default_factory=dict)  # of the document: owner, updated, …
    indexed_at: datetime | None = None

    @property
    def link(self) -> str | None:
        """The document's URL with the place of the passage as its fragment."""
        if self.url is None:
            return None
        if self.anchor:
            return f"{self.url}#{self.anchor}"
        return f"{self.url}#page={self.page}" if self.page and self.url.lower().endswith(".pdf") else self.url


@dataclass(frozen=True, slots=True)
class SearchResult:
    """``hits`` best first; ``term_weights``: the question's terms (by number) with their idf."""

    hits: tuple[Hit, ...]
    term_weights: dict[int, float]


_IN_SOURCES = """
    AND c.document_id IN (SELECT id FROM documents WHERE source_id = ANY(CAST(:sources AS bigint[])))"""

_STATEMENT = """
WITH corpus AS MATERIALIZED (SELECT greatest(chunks, 1) AS n FROM corpus_statistics),
question AS MATERIALIZED (
    SELECT asked.term, least(coalesce(t.chunks, 0), n) AS df, n
    FROM corpus, unnest(CAST(:terms AS integer[])) AS asked(term) LEFT JOIN terms t USING (term)
),
weighted AS MATERIALIZED (SELECT term, ln(1 + (n - df + 0.5) / (df + 0.5)) AS idf FROM question),
weights AS MATERIALIZED (
    SELECT CAST('{' || string_agg(term || ':' || idf, ',' ORDER BY term) || '}/@TERM_SPACE' AS sparsevec) AS vector,
           json_object_agg(term, idf) AS by_term
    FROM weighted
),
rare AS MATERIALIZED (
    SELECT coalesce(array_agg(term) FILTER (WHERE df <= greatest(:common * n, 100)), CAST(:terms AS integer[])) AS terms
    FROM question
),
lexical AS MATERIALIZED (
    SELECT c.id, row_number() OVER (ORDER BY c.weights <#> w.vector, c.id) AS rank
    FROM chunks c, weights w
    WHERE c.terms && (SELECT terms FROM rare) AND c.readers && CAST(:readers AS text[])@IN_SOURCES
    ORDER BY c.weights <#> w.vector, c.id LIMIT :candidates
),
semantic AS MATERIALIZED (
    SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (SELECT c.id, v.embedding <=> CAST(:vector AS halfvec) AS distance
          FROM @VECTORS v JOIN chunks c USING (text_hash)
          WHERE c.readers && CAST(:readers AS text[])@IN_SOURCES
          ORDER BY v.embedding <=> CAST(:vector AS halfvec) LIMIT :candidates) AS nearest
),
scored AS MATERIALIZED (
    SELECT id, l.rank AS bm25_rank, s.rank AS vector_rank,
           coalesce(-(c.weights <#> w.vector), 0) AS bm25,
           1 - coalesce(s.distance, (SELECT v.embedding <=> CAST(:vector AS halfvec) FROM @VECTORS v
                                     WHERE v.text_hash = c.text_hash), 1) AS cosine
    FROM lexical l FULL JOIN semantic s USING (id) JOIN chunks c USING (id), weights w
),
fused AS (
    SELECT scored.*,
           coalesce(:share * (bm25 - low_bm25) / nullif(high_bm25 - low_bm25, 0), 0)
           + coalesce((1 - :share) * (cosine - low_cosine) / nullif(high_cosine - low_cosine, 0), 0) AS score
    FROM scored, (SELECT min(bm25) AS low_bm25, max(bm25) AS high_bm25, min(cosine) AS low_cosine,
                         max(cosine) AS high_cosine FROM scored) AS range
),
best AS (SELECT * FROM fused ORDER BY score DESC, id LIMIT :limit)
SELECT c.id, c.document_id, d.external_id, d.title, d.url, c.text, c.heading_path, c.anchor, c.page, c.ordinal,
       b.bm25, b.cosine, b.bm25_rank, b.vector_rank, b.score, d.details, d.indexed_at,
       CASE WHEN row_number() OVER () = 1 THEN w.by_term END
FROM best b JOIN chunks c USING (id) JOIN documents d ON d.id = c.document_id, weights w
ORDER BY b.score DESC, b.id
"""


@cache
def _statement(model: Model, in_sources: bool) -> TextClause:
    condition = _IN_SOURCES if in_sources else ""
    statement: TextClause = model.sql(
        _STATEMENT.replace("@TERM_SPACE", str(TERM_SPACE)).replace("@IN_SOURCES", condition)
    )
    return statement


class Searcher:
    """Finds passages. Cannot be called without an audience. ``share``: how much of the score is BM25's, 0..1."""

    def __init__(self, sessions: Sessions, embedder: Embedder, share: float = BM25_SHARE) -> None:
        self._sessions = sessions
        self._embedder = embedder
        self._share = share
        self._models: dict[str, Model] = {}

    async def search(
        self, query: str, *, audience: Audience, limit: int = 10, sources: Sequence[int] = ()
    ) -> SearchResult:
        """The best passages for ``query`` that the audience may read, of ``sources`` (ids) where some are named."""
        parameters = {
            "terms": query_terms(query),
            "readers": sorted(audience.principals),
            "candidates": max(CANDIDATES, limit),
            "common": COMMON,
            "share": self._share,
            "limit": limit,
        }
        if sources:
            parameters["sources"] = list(sources)
        rows = await self._rows(query, parameters)
        weights: dict[str, float] = next((row[-1] for row in rows if row[-1]), {})
        return SearchResult(tuple(map(_hit, rows)), {int(term): idf for term, idf in weights.items()})

    async def _rows(self, query: str, parameters: dict[str, Any]) -> Sequence[Any]:
        """What is found with the active model; with the next one, if that one is dropped in this very moment."""
        for _ in range(ATTEMPTS):
            rows = await self._rows_of(pinned(self._embedder), query, parameters)
            if rows is not None:
                return rows
            if isinstance(self._embedder, Embedders):
                await self._embedder.refresh()
        return []

    async def _rows_of(self, embedder: Embedder, query: str, parameters: dict[str, Any]) -> Sequence[Any] | None:
        """Question and passages in the space of one model; None when the index does not hold it (any more)."""
        vector = halfvec_literal(await embedder.embed_query(query))
        async with self._sessions() as session:
            model = await self._model(session, embedder.name)
            if model is None:
                return None
            try:
                statement = _statement(model, "sources" in parameters)
                return (await session.execute(statement, {**parameters, "vector": vector})).all()
            except ProgrammingError as error:
                if not isinstance(error.orig, UndefinedTable):
                    raise
                del self._models[embedder.name]
                return None

    async def _model(self, session: AsyncSession, name: str) -> Model | None:
        """The model in the registry."""
        if name not in self._models:
            self._models.update({model.name: model for model in await models(session)})
        return self._models.get(name)


def _hit(row: Any) -> Hit:
    (chunk_id, document_id, external_id, title, url, words, heading_path, *place_and_scores, _weights) = row
    return Hit(chunk_id, document_id, external_id, title, url, words, tuple(heading_path), *place_and_scores)
