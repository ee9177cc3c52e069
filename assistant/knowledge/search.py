"""Hybrid search: candidates of BM25 and vectors from Postgres, under the audience's permissions, ranked and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import hidden, hybrid
from assistant.database.conditions import Condition, condition, look_up
from assistant.database.hybrid import Reads, Request
from assistant.database.session import Sessions, one_snapshot
from assistant.database.vectors import Model, models
from assistant.guardrails.judged import Judged
from assistant.guardrails.verdicts import Decision, Verdict
from assistant.knowledge import first_look, recency
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedder_port import ask
from assistant.knowledge.embedders import Embedders, pinned
from assistant.knowledge.embedding import Embedder, halfvec_literal, unpacked
from assistant.knowledge.filters import NO_FILTERS, Filters
from assistant.knowledge.first_look import Look
from assistant.knowledge.query import Carried, Vector, mixed, weighted_terms
from assistant.knowledge.ranking import FINAL, FIRST, Candidates, Ranking, ranked, words_of
from assistant.knowledge.reranking import Reranker
from assistant.knowledge.token_vectors import Asked
from assistant.preferences.features import Asked as Wish
from assistant.preferences.policy import NOTHING_LEARNED, Choice, Policies

ATTEMPTS = 3  # while models change


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
    look: Look | None = None  # of the first passages: what was seen when they were read
    judged: Judged | None = field(default=None, compare=False, repr=False)  # by the document guard, when it was read in

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
    """``hits`` best first; ``term_weights``: the question's terms (by number) with their idf; ``choice``: what was
    learned from votes that had a say in the order; ``vector``: the question's."""

    hits: tuple[Hit, ...]
    term_weights: dict[int, float]
    choice: Choice = NOTHING_LEARNED
    vector: Vector | None = field(default=None, compare=False, repr=False)


class Searcher:
    """Finds passages. Cannot be called without an audience. ``ranking``: the stages that put them in order; ``reads``:
    the statements that it makes; ``policies``: what was learned from votes, where that has a say."""

    def __init__(
        self,
        sessions: Sessions,
        embedder: Embedder,
        ranking: Ranking = FINAL,
        reranker: Reranker | None = None,
        reads: Callable[[AsyncSession], Reads] = Reads,
        policies: Policies | None = None,
    ) -> None:
        self._sessions = sessions
        self._embedder = embedder
        self._ranking = ranking
        self._reranker = reranker
        self._reads = reads
        self._policies = policies
        self._models: dict[str, Model] = {}

    @property
    def sessions(self) -> Sessions:
        return self._sessions

    @property
    def ranking(self) -> Ranking:
        return self._ranking

    @property
    def reranks(self) -> bool:
        return self._reranker is not None

    @property
    def policies(self) -> Policies | None:
        return self._policies

    def ranked(self, ranking: Ranking, reads: Callable[[AsyncSession], Reads] | None = None) -> Searcher:
        """The same search with other stages, and without what was learned from votes."""
        return Searcher(self._sessions, self._embedder, ranking, self._reranker, reads or self._reads)

    async def search(
        self,
        query: str,
        *,
        audience: Audience,
        limit: int = 10,
        sources: Sequence[int] = (),
        filters: Filters = NO_FILTERS,
        carried: Sequence[Carried] = (),
        lot: str | None = None,
    ) -> SearchResult:
        """The best passages for ``query`` that the audience may read, of ``sources`` (ids) where some are named.

        ``carried`` is what was said before, and counts as much as it says. ``lot`` draws whether a version of the
        preferences that is being tried puts them in order: the conversation's name; None: it does not.
        Raises ``FilterError`` where ``filters`` name a source that holds nothing for the audience.
        """
        only = await self._condition(filters, audience, sources)
        first = self._ranking.rerank if self._reranker is not None else 0
        result = await self._found(query, carried, audience, max(limit, first), only, lot)
        if self._reranker is None or first < 2:
            return result
        order = await self._reranker.order(query, [_read_with_context(hit) for hit in result.hits[:first]])
        hits = result.hits if order is None else _preferred(_reordered(result.hits, order), self._ranking.preferences)
        return replace(result, hits=hits[:limit])

    async def hidden(
        self,
        query: str,
        *,
        audience: Audience,
        least_cosine: float,
        sources: Sequence[int] = (),
        carried: Sequence[Carried] = (),
    ) -> int:
        """How many documents the audience may not read would be among the best ones; at most ``hidden.SEVERAL``."""
        embedder = pinned(self._embedder)
        asked = await _asked(embedder, query, carried)
        async with self._sessions() as session:
            model = await self._model(session, embedder.name)
            vector = halfvec_literal(asked.vector)
            return await hidden.count(session, model, vector, audience, least_cosine, sources) if model else 0

    async def _condition(self, filters: Filters, audience: Audience, sources: Sequence[int]) -> Condition:
        if not filters.names_sources:
            return condition(filters, within=sources)
        async with self._sessions() as session:
            return await look_up(session, filters, audience, sources)

    async def _found(
        self, query: str, carried: Sequence[Carried], audience: Audience, limit: int, only: Condition, lot: str | None
    ) -> SearchResult:
        """What is found with the active model; with the next one, if that one is dropped in this very moment."""
        terms = weighted_terms(query, carried)
        for _ in range(ATTEMPTS):
            embedder = pinned(self._embedder)
            asked = await _asked(embedder, query, carried)
            if self._policies is not None:
                asked = replace(asked, choice=self._policies.chosen(lot, embedder.name))
            request = Request(
                list(terms), halfvec_literal(asked.vector), audience, self._ranking.candidates, limit,
                self._ranking.share, only, list(terms.values()), self._ranking.needs_vectors,
            )  # fmt: skip
            result = await self._found_by(embedder.name, request, asked)
            if result is not None:
                return result
            if isinstance(self._embedder, Embedders):
                await self._embedder.refresh()
        return SearchResult((), {})

    async def _found_by(self, name: str, request: Request, asked: Searched) -> SearchResult | None:
        """Question and passages in the space of one model; None when the index does not hold it (any more)."""
        async with self._sessions() as session:
            model = await self._model(session, name)
            if model is None:
                return None
            await one_snapshot(session)
            try:
                return await find(self._reads(session), model, request, asked, self._ranking)
            except hybrid.ModelDropped:
                del self._models[name]
                return None

    async def _model(self, session: AsyncSession, name: str) -> Model | None:
        """The model in the registry."""
        if name not in self._models:
            self._models.update({model.name: model for model in await models(session)})
        return self._models.get(name)


@dataclass(frozen=True, slots=True)
class Searched:
    """What is asked, for the stages behind the SQL: its vector; for its pairs, its words; the vectors of its tokens;
    and what was learned from votes that has a say in the order."""

    vector: Vector
    words: str = ""
    tokens: tuple[Asked, ...] = ()
    choice: Choice = NOTHING_LEARNED


async def _asked(embedder: Embedder, query: str, carried: Sequence[Carried]) -> Searched:
    own, *others = await asyncio.gather(*(ask(embedder, text) for text in (query, *(part.text for part in carried))))
    weights = [part.vector for part in carried]
    vector = mixed(own.vector, [one.vector for one in others], weights) if carried else own.vector
    parts = zip((own, *others), (1.0, *weights), strict=True)
    return Searched(vector, query, tuple(Asked(one.tokens, weight) for one, weight in parts if one.tokens is not None))


async def find(reads: Reads, model: Model, request: Request, asked: Searched, ranking: Ranking = FINAL) -> SearchResult:
    """The passages for one request, in the order of ``ranking``. Raises ``hybrid.ModelDropped``.

    The statements behind ``reads`` see one state of the documents, so that none is gone when its passage is read.
    """
    rows = sorted(await reads.named(model, request), key=lambda row: row.id)  # equal sums each time
    if not rows:
        return SearchResult((), {})
    candidates = _candidates(rows, model)
    order, score = ranked(ranking, candidates, asked.vector)
    scored = [(rows[place], float(score[place])) for place in order]
    by_term: dict[str, float] = next((row.by_term for row in rows if row.by_term), {})
    weights = {int(term): idf for term, idf in by_term.items()}
    wish = Wish(asked.words, asked.vector, weights)
    wanted = first_look.Wanted.of(ranking, wish, asked.tokens, asked.choice.learned)
    known: Mapping[int, Any] = {}
    looks: Mapping[int, Look] = {}
    if wanted:
        first = [row.id for row, _ in scored[:FIRST]]
        known = await reads.passages(first, request.audience, model if wanted.tokens else None)
        scored, looks = first_look.reordered(scored, known, wanted, ranking, _vectors(rows, candidates, first))
    hits = await _read(reads, scored, request, ranking.collapse, known, looks)
    return SearchResult(tuple(_newer_first(hits, ranking.recency)), weights, asked.choice, asked.vector)


def _vectors(rows: Sequence[Any], candidates: Candidates, wanted: Sequence[int]) -> dict[int, Vector]:
    """Of those of the wanted rows whose vectors were read, by their ids."""
    if candidates.vectors is None:
        return {}
    places = {row.id: place for place, row in enumerate(rows) if not row.deeper}
    return {number: candidates.vectors[places[number]] for number in wanted if number in places}


def _newer_first(hits: Sequence[Hit], most: float) -> list[Hit]:
    """Where some lead by less than ``most``, the newer ones; the scores stay with the places."""
    days = [recency.day(hit.details, hit.indexed_at) for hit in hits]
    places = recency.order([hit.score for hit in hits], days, most)
    return [
        hits[place] if place == at else replace(hits[place], score=hits[at].score) for at, place in enumerate(places)
    ]


def _reordered(hits: tuple[Hit, ...], order: Sequence[int]) -> tuple[Hit, ...]:
    """The first hits in another order. The scores stay where they are: they say how far a place leads, and fall."""
    first = tuple(replace(hits[place], score=hits[at].score) for at, place in enumerate(order))
    return first + hits[len(order) :]


def _preferred(hits: tuple[Hit, ...], weight: float) -> tuple[Hit, ...]:
    """The hits as a cross-encoder ordered them, with what votes have to say of them added anew."""
    moved = [hit.score + weight * (hit.look.moved if hit.look else 0.0) for hit in hits]
    order = sorted(range(len(hits)), key=lambda place: -moved[place])
    return tuple(replace(hits[place], score=hits[at].score) for at, place in enumerate(order))


def _read_with_context(hit: Hit) -> str:
    return f"{' > '.join([hit.title, *hit.heading_path])}\n{hit.text}"


def _candidates(rows: Sequence[Any], model: Model) -> Candidates:
    near = [row for row in rows if not row.deeper]
    vectors = None
    if any(row.vector is not None for row in near):
        vectors = np.zeros((len(rows), model.dimensions), np.float32)
        nothing = bytes(2 * (2 + model.dimensions))
        vectors[[not row.deeper for row in rows]] = unpacked([row.vector or nothing for row in near], model.dimensions)
    return Candidates(
        np.array([row.bm25 for row in rows]), np.array([row.cosine for row in rows]),
        np.array([row.document_id for row in rows]), np.array([row.deeper for row in rows]), vectors,
    )  # fmt: skip


async def _read(
    reads: Reads, scored: Sequence[tuple[Any, float]], request: Request, collapse: bool, known: Mapping[int, Any],
    looks: Mapping[int, Look],
) -> list[Hit]:  # fmt: skip
    """The first passages, read from the database unless they are ``known``, and as many more as copies are left out."""
    hits: list[Hit] = []
    seen: set[tuple[str, ...]] = set()
    place = 0
    while len(hits) < request.limit and place < len(scored):
        batch = scored[place : place + request.limit - len(hits)]
        unread = [row.id for row, _ in batch if row.id not in known]
        place += len(batch)
        found = {**known, **(await reads.passages(unread, request.audience) if unread else {})}
        for row, score in batch:
            if row.id not in found:  # two locks: reading asks for the document's readers, too
                continue
            hit = _hit(found[row.id], row, score, looks.get(row.id))
            words = words_of(hit.title, hit.heading_path, hit.text) if collapse else (str(hit.chunk_id),)
            if words not in seen:
                seen.add(words)
                hits.append(hit)
    return hits


def _hit(passage: Any, row: Any, score: float, look: Look | None) -> Hit:
    (chunk_id, document_id, external_id, title, url, words, path, anchor, page, ordinal, *about) = passage
    details, indexed_at, _tokens, *judged = about
    return Hit(
        chunk_id, document_id, external_id, title, url, words, tuple(path), anchor, page, ordinal, row.bm25,
        row.cosine, row.bm25_rank, row.vector_rank, score, details, indexed_at, look,
        _judged(*judged),
    )  # fmt: skip


def _judged(judge: UUID | None, text_key: UUID, verdict: Decision, score: float, reasons: list[str]) -> Judged | None:
    return None if judge is None else Judged(judge, text_key, Verdict(verdict, score, tuple(reasons)))
