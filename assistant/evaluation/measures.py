"""How good a ranking is, by ``ir-measures``, and how sure that is: paired bootstrap over the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, R, nDCG

Floats = npt.NDArray[np.float64]

MEASURES = {
    "ndcg@5": nDCG @ 5, "ndcg@10": nDCG @ 10, "recall@5": R @ 5, "recall@10": R @ 10, "recall@100": R @ 100,
    "mrr@10": RR @ 10,
}  # fmt: skip
DEEPEST = 100  # documents that the measures look at

RESAMPLES = 10_000
CONFIDENCE = 0.95
BLOCK = 2_000_000  # numbers drawn at once
SEED = 20_251_125


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float
    low: float
    high: float


def per_query(
    judged: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]], queries: Sequence[str]
) -> dict[str, Floats]:
    """Measure -> value of each query, shape (queries,), in their order. ``ranked``: document ids, best first."""
    # trec_eval sorts by score and breaks ties by id: the places themselves are the scores, so that our order stands.
    run = {query: {document: -float(place) for place, document in enumerate(ranked[query])} for query in queries}
    wanted = {query: dict(judged[query]) for query in queries}
    names = {measure: name for name, measure in MEASURES.items()}
    place = {query: number for number, query in enumerate(queries)}
    values = {name: np.zeros(len(queries)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), wanted, run):
        values[names[metric.measure]][place[metric.query_id]] = metric.value
    return values


def intervals(values: Mapping[str, Floats]) -> dict[str, Interval]:
    """The mean of each row of numbers (one a query, the same queries in every row) with its percentile interval.

    All rows share the resamples. Give differences of two arms to compare them pairwise.
    """
    names = list(values)
    table = np.stack([values[name] for name in names])  # (rows, queries)
    queries = table.shape[1]
    random = np.random.default_rng(SEED)
    means = []
    for start in range(0, RESAMPLES, max(1, BLOCK // queries)):
        size = min(max(1, BLOCK // queries), RESAMPLES - start)
        drawn = random.multinomial(queries, np.full(queries, 1 / queries), size=size)  # (resamples, queries)
        means.append(drawn @ table.T / queries)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    mean = table.mean(axis=1)
    return {name: Interval(float(mean[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}
