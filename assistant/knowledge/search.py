"""Hybrid search: BM25 and vectors in one Postgres round trip, under the audience's permissions.

Each arm names its best candidates; the database then scores the union by both, so that a passage that only one arm
named still has its true score in the other. Fusion happens here, on scores rather than ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import Embedder, Vectors, halfvec_literal
from assistant.knowledge.lexical import query_terms

CANDIDATES = 100  # of each arm
BM25_SHARE = 0.5  # of the fused score; the rest is the vectors' (see benchmarks.md)


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
    details: dict[str, Any]
    bm25: float
    cosine: float
    bm25_rank: int | None
    vector_rank: int | None
    score: float = 0.0

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
    """``hits`` best first; ``rare_terms_missing`` is the share of the question's idf that no visible chunk holds."""

    hits: tuple[Hit, ...]
    term_weights: dict[int, float]  # term number -> idf; a term that no chunk holds has the highest
    vector: Vectors


_SEARCH = text("""
WITH corpus AS MATERIALIZED (SELECT greatest(chunks, 1) AS n FROM corpus_statistics),
question AS MATERIALIZED (
    SELECT term, ln(1 + (n - df + 0.5) / (df + 0.5)) AS idf
    FROM corpus, (SELECT asked.term, least(coalesce(t.chunks, 0), n) AS df
                  FROM corpus, unnest(CAST(:terms AS integer[])) AS asked(term) LEFT JOIN terms t USING (term)) AS known
),
weights AS MATERIALIZED (
    SELECT CAST('{' || string_agg(term || ':' || idf, ',' ORDER BY term) || '}/1000000000' AS sparsevec) AS vector
    FROM question
),
lexical AS MATERIALIZED (
    SELECT c.id, row_number() OVER (ORDER BY c.weights <#> w.vector, c.id) AS rank
    FROM chunks c, weights w
    WHERE c.terms && CAST(:terms AS integer[]) AND c.readers && CAST(:readers AS text[])
    ORDER BY c.weights <#> w.vector, c.id LIMIT :candidates
),
semantic AS MATERIALIZED (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
    FROM (SELECT id, embedding <=> CAST(:vector AS halfvec) AS distance FROM chunks
          WHERE readers && CAST(:readers AS text[])
          ORDER BY embedding <=> CAST(:vector AS halfvec) LIMIT :candidates) AS nearest
),
named AS (SELECT id, l.rank AS bm25_rank, s.rank AS vector_rank FROM lexical l FULL JOIN semantic s USING (id))
SELECT c.id AS chunk_id, c.document_id, d.external_id, d.title, d.url, c.text, c.heading_path, c.anchor, c.page,
       c.ordinal, d.details, coalesce(-(c.weights <#> w.vector), 0) AS bm25,
       1 - (c.embedding <=> CAST(:vector AS halfvec)) AS cosine, n.bm25_rank, n.vector_rank,
       (SELECT json_object_agg(term, idf) FROM question) AS term_weights
FROM named n JOIN chunks c USING (id) JOIN documents d ON d.id = c.document_id, weights w
""")


class Searcher:
    """Finds passages. Cannot be called without an audience."""

    def __init__(self, sessions: Sessions, embedder: Embedder) -> None:
        self._sessions = sessions
        self._embedder = embedder

    async def search(self, query: str, *, audience: Audience, limit: int = 10) -> SearchResult:
        """The best passages for ``query`` that the audience may read."""
        terms = query_terms(query)
        vector = await self._embedder.embed_query(query)
        async with self._sessions() as session:
            rows = await _candidates(session, terms, vector, audience)
        hits = fuse([_hit(row) for row in rows])
        weights = {int(term): idf for term, idf in (rows[0].term_weights or {}).items()} if rows else {}
        return SearchResult(tuple(hits[:limit]), weights, vector)


async def _candidates(session: AsyncSession, terms: list[int], vector: Vectors, audience: Audience) -> Sequence[Any]:
    result = await session.execute(
        _SEARCH,
        {
            "terms": terms,
            "vector": halfvec_literal(vector),
            "readers": sorted(audience.principals),
            "candidates": CANDIDATES,
        },
    )
    return result.all()


def _hit(row: Any) -> Hit:
    return Hit(
        row.chunk_id, row.document_id, row.external_id, row.title, row.url, row.text, tuple(row.heading_path),
        row.anchor, row.page, row.ordinal, row.details, row.bm25, row.cosine, row.bm25_rank, row.vector_rank,
    )  # fmt: skip


def fuse(hits: Sequence[Hit], share: float = BM25_SHARE) -> list[Hit]:
    """Min-max-normalised BM25 and cosine, weighted by ``share``; best first, ties by chunk id."""
    if not hits:
        return []
    bm25 = _normalised([hit.bm25 for hit in hits])
    cosine = _normalised([hit.cosine for hit in hits])
    fused = [
        replace(hit, score=share * lexical + (1 - share) * semantic)
        for hit, lexical, semantic in zip(hits, bm25, cosine, strict=True)
    ]
    return sorted(fused, key=lambda hit: (-hit.score, hit.chunk_id))


def _normalised(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    spread = high - low
    return [(value - low) / spread if spread > 1e-9 else 0.0 for value in values]
