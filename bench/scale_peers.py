"""FAISS HNSW and bm25s in this process, with the same vectors and terms, and the same fusion of the two."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant.knowledge.lexical import K1, B
from assistant.knowledge.ranking import HYBRID, Candidates, ranked
from bench.scale_data import Queries, centres, real_vectors, vectors, windows
from bench.scale_index import BATCH
from bench.scale_measure import DEEP, FIRST


@dataclass(frozen=True, slots=True)
class Peers:
    """``vocabulary``: term -> its number in bm25s. ``seconds``: to build each."""

    faiss: Any
    bm25s: Any
    vocabulary: dict[int, int]
    seconds: dict[str, float]


def build(size: int) -> Peers:
    """HNSW with 32 neighbours (pgvector's m = 16 has as many on the ground layer), and bm25s with Lucene's BM25, which
    ranks as ours does."""
    import bm25s
    import faiss

    faiss.omp_set_num_threads(1)
    start = time.perf_counter()
    graph = faiss.IndexHNSWFlat(384, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 64
    graph.hnsw.efSearch = 100
    places, real = centres(size), real_vectors()
    for first in range(0, size, BATCH):
        graph.add(vectors(places[first : first + BATCH], first, real))
    middle = time.perf_counter()
    vocabulary: dict[int, int] = {}
    corpus = []
    for window in windows(0, size):
        numbers = [vocabulary.setdefault(term, len(vocabulary)) for term in window.counts]
        corpus.append(np.repeat(numbers, list(window.counts.values())).tolist())
    retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
    retriever.index((corpus, {str(number): number for number in range(len(vocabulary))}), show_progress=False)
    return Peers(graph, retriever, vocabulary, {"faiss": middle - start, "bm25s": time.perf_counter() - middle})


def arms(peers: Peers, asked: Queries) -> dict[str, Callable[[int], Sequence[int]]]:
    """For ``bench.scale_measure.search``."""
    known = [[peers.vocabulary[term] for term in terms if term in peers.vocabulary] for terms in asked.terms]

    def faiss(place: int) -> Sequence[int]:
        found: list[int] = peers.faiss.search(asked.vectors[place : place + 1], FIRST)[1][0].tolist()
        return found

    def bm25s(place: int) -> Sequence[int]:
        found: list[int] = peers.bm25s.retrieve([known[place]], k=FIRST, show_progress=False, n_threads=0)[0][
            0
        ].tolist()
        return found

    def both(place: int) -> Sequence[int]:
        return _both(peers, known[place], asked.vectors[place : place + 1])

    return {"faiss": faiss, "bm25s": bm25s, "faiss + bm25s": both}


def _both(peers: Peers, numbers: list[int], question: np.ndarray[Any, Any]) -> list[int]:
    """The union of both sixties, each scored by both, and fused as the product's hybrid arm does it."""
    cosines, near = peers.faiss.search(question, DEEP)
    lexical = peers.bm25s.retrieve([numbers], k=DEEP, show_progress=False, n_threads=0)[0][0]
    scores = peers.bm25s.get_scores_from_ids(numbers)
    union = np.union1d(near[0], lexical)
    cosine_of = dict(zip(near[0].tolist(), cosines[0].tolist(), strict=True))
    cosine = [
        cosine_of[one] if one in cosine_of else float(peers.faiss.reconstruct(one) @ question[0])
        for one in union.tolist()
    ]
    nothing = np.zeros(len(union), dtype=bool)
    candidates = Candidates(scores[union].astype(float), np.array(cosine), np.zeros(len(union), np.int64), nothing)
    order, _ = ranked(HYBRID, candidates, question[0])
    return [int(union[place]) for place in order[:FIRST]]
