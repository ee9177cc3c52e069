"""Latency and recall of the search at one size.

Recall: how many of the first ten are among the first ten of an exact search, the mean over the questions; one with the
same score counts. The exact search compares every vector, and adds up every posting by the stored weights.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text

from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import Embedder, TransformerEmbedder, Vectors
from assistant.knowledge.ranking import ARMS
from assistant.knowledge.search import Searcher
from bench.scale_data import Floats, Queries, centres, real_vectors, vectors
from bench.scale_index import BATCH, MODEL, Index

FIRST = 10
DEEP = 60  # of each arm, fused by the exact hybrid search
ROUNDS = 3  # of all questions up to this many chunks, one round beyond:
MOST_ROUNDS_UP_TO = 300_000
EQUAL = 1e-3  # scores that differ by less are one
TIMED = ("bm25", "dense", "hybrid", "final")


class Known:
    """An embedder of questions whose vectors are there already: the search is timed without the model."""

    name = MODEL
    dimensions = 384

    def __init__(self, asked: Queries) -> None:
        self._vectors = dict(zip(asked.texts, asked.vectors, strict=True))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vectors[each] for each in texts])

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._vectors[text]
        return vector

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(each.split()) for each in texts]

    async def close(self) -> None:
        """Nothing to close."""


class Renamed:
    """The real model under the name of the scale index."""

    name = MODEL
    dimensions = 384

    def __init__(self, model: TransformerEmbedder) -> None:
        self.embed, self.embed_query = model.embed, model.embed_query
        self.count_tokens, self.close = model.count_tokens, model.close


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    p50, p95, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


async def search(
    index: Index, asked: Queries, arms: Mapping[str, Callable[[int], Sequence[int]]]
) -> tuple[dict[str, list[Sequence[int]]], dict[str, list[float]]]:
    """What each arm finds for each question, best first, and its seconds for each, in all rounds.

    ``arms``: others beside the product's, which take a question's place. All arms take turns with every question, so
    that whatever else the machine does meets them alike.
    """
    mine = {arm: Searcher(index.reading, Known(asked), ARMS[arm]) for arm in TIMED}
    seconds: dict[str, list[float]] = {arm: [] for arm in (*arms, *mine)}
    found: dict[str, list[Sequence[int]]] = {}
    for turn in range(1 + (ROUNDS if index.size <= MOST_ROUNDS_UP_TO else 1)):  # the first to warm
        found = {arm: [] for arm in seconds}
        for place, question in enumerate(asked.texts):
            for arm in seconds:
                start = time.perf_counter()
                if arm in mine:
                    result = await mine[arm].search(question, audience=Audience.everyone(), limit=FIRST)
                    numbers: Sequence[int] = [hit.chunk_id for hit in result.hits]
                else:
                    numbers = arms[arm](place)
                if turn:
                    seconds[arm].append(time.perf_counter() - start)
                found[arm].append(numbers)
    return found, seconds


def exact_vectors(index: Index, asked: Queries) -> tuple[npt.NDArray[np.int64], Floats]:
    """Numbers and cosines of the nearest ``DEEP`` windows, best first, shape (questions, DEEP) each."""
    real, places = real_vectors(), centres(index.size)
    numbers = np.zeros((len(asked.texts), 0), np.int64)
    cosines = np.zeros((len(asked.texts), 0), np.float32)
    for start in range(0, index.size, BATCH):
        stored = vectors(places[start : start + BATCH], start, real).astype(np.float16).astype(np.float32)
        new = asked.vectors @ stored.T
        cosines = np.concatenate([cosines, new], axis=1)
        numbers = np.concatenate(
            [numbers, np.broadcast_to(np.arange(start, start + len(stored)), new.shape)], axis=1
        )  # fmt: skip
        best = np.argpartition(-cosines, DEEP, axis=1)[:, :DEEP]
        numbers, cosines = np.take_along_axis(numbers, best, 1), np.take_along_axis(cosines, best, 1)
    order = np.argsort(-cosines, axis=1)
    return np.take_along_axis(numbers, order, 1), np.take_along_axis(cosines, order, 1)


_EXACT = text("""
WITH question AS (
    SELECT CAST('{' || string_agg(term || ':' || ln(1 + (n.chunks - t.chunks + 0.5) / (t.chunks + 0.5)), ','
                                  ORDER BY term) || '}/1000000000' AS sparsevec) AS vector
    FROM corpus_statistics n, terms t WHERE term = ANY(CAST(:terms AS integer[]))
)
SELECT id, -(weights <#> vector) AS bm25 FROM chunks, question WHERE terms && CAST(:terms AS integer[])
ORDER BY bm25 DESC, id LIMIT :most""")


async def exact_bm25(index: Index, asked: Queries, questions: Sequence[int]) -> dict[int, list[Any]]:
    """(id, bm25) of the best ``DEEP`` windows of each of the questions (their places), best first."""
    found = {}
    async with index.reading() as session:
        for place in questions:
            parameters = {"terms": asked.terms[place], "most": DEEP}
            found[place] = list((await session.execute(_EXACT, parameters)).all())
    return found


def recall(found: Sequence[int], best: Sequence[int], scores: Sequence[float]) -> float:
    """The share of the first ten by the scores of an exact search, ``best`` with ``scores``, that was found."""
    lowest = scores[min(FIRST, len(scores)) - 1] - EQUAL
    right = {one for one, score in zip(best, scores, strict=True) if score >= lowest}
    return sum(one in right for one in found[:FIRST]) / min(FIRST, len(best))


async def concurrency(index: Index, texts: Sequence[str], embedder: Embedder) -> dict[int, dict[str, float]]:
    """Questions with their embedding, none twice, by how many are in flight: a second, p50 and p95 in ms."""
    searcher = Searcher(index.reading, embedder)
    left = iter(texts)
    results = {}
    for flight in (1, 2, 4, 8, 16, 32, 64):
        batch = iter([next(left) for _ in range(max(120, 6 * flight))])
        seconds: list[float] = []

        async def asker(questions: Any = batch, seconds: list[float] = seconds) -> None:
            for question in questions:
                start = time.perf_counter()
                await searcher.search(question, audience=Audience.everyone(), limit=FIRST)
                seconds.append(time.perf_counter() - start)

        began = time.perf_counter()
        await asyncio.gather(*(asker() for _ in range(flight)))
        results[flight] = {"a second": len(seconds) / (time.perf_counter() - began), **percentiles(seconds)}
    return results
