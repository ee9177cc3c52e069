"""Two rankings into one. BM25 and vectors miss different things, so together they find more than either.

Their scores cannot simply be added: BM25's run from 0 to some 30, a cosine from about 0 to 1. Two ways round that:

- *Reciprocal rank fusion* forgets the scores:  score(d) = Σ_r 1 / (k + rank_r(d)).  The constant k (60 in the paper)
  says how much the first places stand out; nothing has to be tuned, which is its charm.
- *Weighted fusion* brings each ranking's scores to 0..1 by their minimum and maximum, then adds them with weights. It
  keeps by how much a document won, needs a weight, and is often better once that weight was fitted.

Source: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
methods" (2009). Left out: z-score and distribution-based normalisation, and learned fusion (a re-ranker).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Document = TypeVar("Document", bound=Hashable)


def reciprocal_rank_fusion(rankings: Sequence[Sequence[Document]], k: float = 60.0) -> list[tuple[Document, float]]:
    """Documents with their fused scores, best first; each ranking lists documents best first, without repeats.

    Ties keep the order in which the documents were first met. ValueError for a repeat or a negative ``k``.
    """
    if k < 0:
        raise ValueError(f"k must not be negative; it is {k}.")
    scores: dict[Document, float] = {}
    for ranking in rankings:
        if len(set(ranking)) != len(ranking):
            raise ValueError("a ranking names a document twice.")
        for rank, document in enumerate(ranking, start=1):
            scores[document] = scores.get(document, 0.0) + 1 / (k + rank)  # Σ_r 1 / (k + rank_r(d))
    return _best_first(scores)


def weighted_fusion(
    results: Sequence[Mapping[Document, float]], weights: Sequence[float]
) -> list[tuple[Document, float]]:
    """Documents with Σ_r weight_r · normalised score_r, best first; ``results`` map documents to scores.

    A document that a result does not name gets 0 from it, as its worst one does.
    """
    if len(results) != len(weights):
        raise ValueError(f"{len(results)} results need as many weights; there are {len(weights)}.")
    fused: dict[Document, float] = {}
    for result, weight in zip(results, weights, strict=True):
        for document, score in min_max(result).items():
            fused[document] = fused.get(document, 0.0) + weight * score
    return _best_first(fused)


def min_max(scores: Mapping[Document, float]) -> dict[Document, float]:
    """(s - min) / (max - min), so that the best is 1 and the worst 0; all 1 where all are equal."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    return {document: (score - low) / (high - low) if high > low else 1.0 for document, score in scores.items()}


def _best_first(scores: Mapping[Document, float]) -> list[tuple[Document, float]]:
    return sorted(scores.items(), key=lambda item: -item[1])
