"""BM25, vectors and their fusion against people's judgements: nDCG@10 on SciFact.

The weight of the weighted fusion is fitted on the training queries, never on those it is reported for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import Stemmer

from ml.week09_retrieval.bm25 import BM25, tokenise
from ml.week09_retrieval.data import Collection
from ml.week09_retrieval.flat import Vectors
from ml.week09_retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from ml.week09_retrieval.metrics import ndcg_at

DEPTH = 100  # documents of each ranking that are fused
WEIGHTS = np.round(np.arange(0, 1.01, 0.1), 1)  # BM25's share

Scores = dict[str, float]  # document -> score, best first


@dataclass(frozen=True)
class Retrieved:
    """For each query the best documents of BM25 and of the vectors, with scores."""

    words: dict[str, Scores]
    vectors: dict[str, Scores]


def stemmer() -> Callable[[list[str]], list[str]]:
    """Snowball's English stemmer: "patients" and "patient" become one word."""
    stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer("english").stemWords
    return stem


def by_words(
    collection: Collection, method: str = "lucene", stem: Callable[[list[str]], list[str]] | None = None
) -> dict[str, Scores]:
    """BM25's best documents for each query."""
    names = list(collection.documents)
    index = BM25([tokenise(text, stem) for text in collection.documents.values()], method)
    found = {}
    for query, text in collection.queries.items():
        scores, ids = index.search(tokenise(text, stem), DEPTH)
        found[query] = {names[place]: float(score) for place, score in zip(ids, scores, strict=True)}
    return found


def by_vectors(collection: Collection, documents: Vectors, queries: Vectors) -> dict[str, Scores]:
    """The best documents by cosine, from unit vectors (N, D) and (Q, D)."""
    names = list(collection.documents)
    cosines = queries @ documents.T  # (Q, N)
    best = np.argsort(-cosines, axis=1)[:, :DEPTH]  # (Q, DEPTH)
    return {
        query: {names[place]: float(row[place]) for place in places}
        for query, row, places in zip(collection.queries, cosines, best, strict=True)
    }


def by_rank_fusion(retrieved: Retrieved, k: float = 60) -> dict[str, Scores]:
    return {
        query: dict(reciprocal_rank_fusion([list(retrieved.words[query]), list(retrieved.vectors[query])], k))
        for query in retrieved.words
    }


def by_weight(retrieved: Retrieved, share: float) -> dict[str, Scores]:
    """Weighted fusion with ``share`` for BM25 and the rest for the vectors."""
    return {
        query: dict(weighted_fusion([retrieved.words[query], retrieved.vectors[query]], [share, 1 - share]))
        for query in retrieved.words
    }


def quality(found: Mapping[str, Scores], collection: Collection) -> npt.NDArray[np.float64]:
    """nDCG@10 of each query, shape (Q,)."""
    return np.array([ndcg_at(list(found[query]), collection.judged[query]) for query in collection.queries])


def fitted_share(
    retrieved: Retrieved, collection: Collection, shares: Sequence[float] | npt.NDArray = WEIGHTS
) -> float:
    """BM25's share with the best mean nDCG@10."""
    return float(max(shares, key=lambda share: quality(by_weight(retrieved, share), collection).mean()))
