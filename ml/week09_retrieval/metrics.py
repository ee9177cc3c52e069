"""How good a ranking is: recall against an exact answer, and nDCG against people's judgements.

Two different questions. *Recall@k of an index* asks whether the fast search found what the slow, exact search finds:
it needs no judgements, and 1.0 says nothing about usefulness. *nDCG@k of a retriever* asks whether what was found is
what people marked as relevant, and counts a hit at the top for more than one further down.

Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), in the form trec_eval uses.
Left out: MAP, MRR, and significance tests between two systems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def recall_at(found: npt.NDArray[np.int64], exact: npt.NDArray[np.int64], k: int = 10) -> float:
    """Mean share of the ``k`` true nearest neighbours that are among the ``k`` found; both of shape (queries, >= k)."""
    if found.shape[0] != exact.shape[0] or min(found.shape[1], exact.shape[1]) < k:
        raise ValueError(f"recall@{k} needs two tables of {k} columns or more and one row a query.")
    hits = [np.intersect1d(ours[:k], true[:k]).size for ours, true in zip(found, exact, strict=True)]  # (Q,)
    return float(np.sum(hits) / (k * len(hits)))


def ndcg_at(ranking: Sequence[str], relevance: Mapping[str, int], k: int = 10) -> float:
    """nDCG@k of one query's ranked document ids; ``relevance`` grades the judged ones, the others count as 0.

    Raises ValueError where nothing is relevant: there is then no ideal ranking to compare with.
    """
    gains = [relevance.get(document, 0) for document in ranking[:k]]  # (k,)
    ideal = sorted(relevance.values(), reverse=True)[:k]  # (k,)
    if not ideal or ideal[0] <= 0:
        raise ValueError("nDCG is undefined for a query without a relevant document.")
    return _dcg(gains) / _dcg(ideal)


def _dcg(gains: Sequence[int]) -> float:
    """DCG = sum over ranks r = 1, 2, … of gain_r / log2(r + 1)."""
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, start=1)))
