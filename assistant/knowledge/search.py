"""Hybrid search: BM25 and vectors, fused in one Postgres round trip, under the audience's permissions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import hybrid
from assistant.database.conditions import Condition, condition, look_up
from assistant.database.hybrid import Request
from assistant.database.session import Sessions
from assistant.database.vectors import Model, models
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedders import Embedders, pinned
from assistant.knowledge.embedding import Embedder, halfvec_literal
from assistant.knowledge.filters import NO_FILTERS, Filters
from assistant.knowledge.query import Carried, Vector, mixed, weighted_terms
from assistant.knowledge.ranking import FINAL, Ranking

CANDIDATES = 60  # of each arm; more change nothing in the first ten (see benchmarks.md)
ATTEMPTS = 3  # to find the model that is active, while models change


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


class Searcher:
    """Finds passages. Cannot be called without an audience. ``ranking``: the stages that put them in order."""

    def __init__(self, sessions: Sessions, embedder: Embedder, ranking: Ranking = FINAL) -> None:
        self._sessions = sessions
        self._embedder = embedder
        self._ranking = ranking
        self._models: dict[str, Model] = {}

    @property
    def ranking(self) -> Ranking:
        return self._ranking

    def ranked(self, ranking: Ranking) -> Searcher:
        """The same search with other stages."""
        return Searcher(self._sessions, self._embedder, ranking)

    async def search(
        self,
        query: str,
        *,
        audience: Audience,
        limit: int = 10,
        sources: Sequence[int] = (),
        filters: Filters = NO_FILTERS,
        carried: Sequence[Carried] = (),
    ) -> SearchResult:
        """The best passages for ``query`` that the audience may read, of ``sources`` (ids) where some are named.

        ``carried`` is what was said before, and counts as much as it says.
        Raises ``FilterError`` where ``filters`` name a source that holds nothing for the audience.
        """
        rows = await self._rows(query, carried, audience, limit, await self._condition(filters, audience, sources))
        weights: dict[str, float] = next((row[-1] for row in rows if row[-1]), {})
        return SearchResult(tuple(map(_hit, rows)), {int(term): idf for term, idf in weights.items()})

    async def _condition(self, filters: Filters, audience: Audience, sources: Sequence[int]) -> Condition:
        if not filters.names_sources:
            return condition(filters, within=sources)
        async with self._sessions() as session:
            return await look_up(session, filters, audience, sources)

    async def _rows(
        self, query: str, carried: Sequence[Carried], audience: Audience, limit: int, only: Condition
    ) -> Sequence[Any]:
        """What is found with the active model; with the next one, if that one is dropped in this very moment."""
        terms = weighted_terms(query, carried)
        for _ in range(ATTEMPTS):
            embedder = pinned(self._embedder)
            vector = halfvec_literal(await _vector(embedder, query, carried))
            request = Request(
                list(terms), vector, audience, CANDIDATES, limit, self._ranking.share, only, list(terms.values())
            )  # fmt: skip
            rows = await self._rows_of(embedder.name, request)
            if rows is not None:
                return rows
            if isinstance(self._embedder, Embedders):
                await self._embedder.refresh()
        return []

    async def _rows_of(self, name: str, request: Request) -> Sequence[Any] | None:
        """Question and passages in the space of one model; None when the index does not hold it (any more)."""
        async with self._sessions() as session:
            model = await self._model(session, name)
            if model is None:
                return None
            try:
                return await hybrid.find(session, model, request)
            except hybrid.ModelDropped:
                del self._models[name]
                return None

    async def _model(self, session: AsyncSession, name: str) -> Model | None:
        """The model in the registry."""
        if name not in self._models:
            self._models.update({model.name: model for model in await models(session)})
        return self._models.get(name)


async def _vector(embedder: Embedder, query: str, carried: Sequence[Carried]) -> Vector:
    own, *others = await asyncio.gather(*map(embedder.embed_query, (query, *(part.text for part in carried))))
    return mixed(own, others, [part.vector for part in carried]) if carried else own


def _hit(row: Any) -> Hit:
    (chunk_id, document_id, external_id, title, url, words, heading_path, *place_and_scores, _weights) = row
    return Hit(chunk_id, document_id, external_id, title, url, words, tuple(heading_path), *place_and_scores)
