"""Answers to the exercises of the README. Try first; each is ten lines or so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml.week09_retrieval.bm25 import BM25, Floats
from ml.week09_retrieval.flat import Ids, Vectors, smallest
from ml.week09_retrieval.hnsw import Found, HNSWIndex


class Index(Protocol):
    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]: ...


def reranked(index: Index, vectors: Vectors, queries: Vectors, k: int, candidates: int) -> tuple[Vectors, Ids]:
    """Exercise 1: take ``candidates`` from a lossy index, then sort them by exact distance to ``vectors`` (N, D).

    The codes only have to bring the true neighbours among the first few dozen; the full vectors, which may lie on disk,
    put them in order. Returns squared distances and ids, (Q, k) each.
    """
    _, near = index.search(queries, candidates)  # (Q, C)
    gaps = vectors[near] - queries[:, None]  # (Q, C, D)
    exact = np.einsum("qcd,qcd->qc", gaps, gaps)  # (Q, C)
    exact[near < 0] = np.inf  # places that the index could not fill
    rows = [smallest(distances[None], k, ids) for distances, ids in zip(exact, near, strict=True)]
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


class NearestLinks(HNSWIndex):
    """Exercise 2: HNSW that links each node to its nearest ones, without the rule of algorithm 4."""

    def _diverse(self, candidates: Found, limit: int) -> list[int]:
        return [node for _, node in candidates[:limit]]


def filtered_after(index: HNSWIndex, query: Vectors, allowed: npt.NDArray[np.bool_], k: int) -> list[int]:
    """Exercise 3, the trap: search for ``k``, drop what ``allowed`` (N,) forbids. Often fewer than ``k`` are left."""
    return [node for node in index.search(query[None], k)[1][0].tolist() if node >= 0 and allowed[node]]


def filtered_widening(index: HNSWIndex, query: Vectors, allowed: npt.NDArray[np.bool_], k: int) -> list[int]:
    """Exercise 3, a way out: look for twice as many until ``k`` allowed ones are found or all nodes were seen.

    pgvector's ``hnsw.iterative_scan`` does this inside the index. A filter that lets very few through is better served
    by an exact scan of those few.
    """
    reach = k
    while True:
        found = filtered_after(index, query, allowed, reach)
        if len(found) >= k or reach >= len(index.vectors):
            return found[:k]
        reach = min(2 * reach, len(index.vectors))


def published_scores(index: BM25, query: Sequence[str]) -> Floats:
    """Exercise 4: BM25+ as Lv and Zhai published it (2011): δ only for words that the document holds. Shape (N,)."""
    total = np.zeros(len(index.lengths))  # (N,)
    for word in query:
        if word in index.postings:
            ids, tf = index.postings[word]  # (df,), (df,)
            total[ids] += index.idf(len(ids)) * index.part(tf, index.lengths[ids])  # (df,)
    return total
