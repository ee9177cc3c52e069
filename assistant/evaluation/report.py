"""What an evaluation of retrieval says, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from assistant.evaluation.collection import Collection
from assistant.evaluation.measures import Floats, Interval, intervals
from assistant.evaluation.retrieval import FINAL, Evaluation

DIGITS = 4


def document(collection: Collection, evaluation: Evaluation, **more: Any) -> dict[str, Any]:
    """Measures and latencies of every arm, and how far ``final`` is from each other one, with 95 % intervals.

    ``p50_ms`` and ``p95_ms`` are of the search alone; those ``_with_embedding`` include the question's embedding.
    """
    rows: dict[str, Floats] = {}
    for name, arm in evaluation.arms.items():
        for measure, values in arm.values.items():
            rows[f"{name}\n{measure}"] = values
            if name != FINAL:
                rows[f"{name}\n{measure}\ndifference"] = evaluation.arms[FINAL].values[measure] - values
    found = intervals(rows)
    others = [name for name in evaluation.arms if name != FINAL]
    return {
        "collection": collection.name,
        "documents": collection.documents,
        "queries": len(collection.queries),
        "copies": "shown",  # in every arm; answers and searches show a text once
        "same": dict(evaluation.same),
        "arms": {name: _arm(name, evaluation, found) for name in evaluation.arms},
        "final_minus": {name: _differences(name, evaluation, found) for name in others},
        "embedding": _percentiles(evaluation.embed_ms),
        "empty_documents": collection.empty,
        "remarks": list(collection.remarks),
        **more,
    }


def _arm(name: str, evaluation: Evaluation, found: Mapping[str, Interval]) -> dict[str, Any]:
    arm = evaluation.arms[name]
    means = {measure: found[f"{name}\n{measure}"] for measure in arm.values}
    whole = _percentiles(arm.search_ms + evaluation.embed_ms)
    return {
        **{measure: round(interval.mean, DIGITS) for measure, interval in means.items()},
        **_percentiles(arm.search_ms),
        **{f"{key}_with_embedding": value for key, value in whole.items()},
        "intervals": {
            measure: [round(interval.low, DIGITS), round(interval.high, DIGITS)] for measure, interval in means.items()
        },
    }


def _differences(name: str, evaluation: Evaluation, found: Mapping[str, Interval]) -> dict[str, Any]:
    return {
        measure: {
            "difference": round(interval.mean, DIGITS),
            "low": round(interval.low, DIGITS),
            "high": round(interval.high, DIGITS),
        }
        for measure in evaluation.arms[name].values
        for interval in [found[f"{name}\n{measure}\ndifference"]]
    }


def _percentiles(milliseconds: Floats) -> dict[str, float]:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}
