"""What an evaluation found: cases, and metrics that are each a ratio of two sums over them.

Precision is right ones by those named, a mean is values by how many there are, F1 is twice the right ones by named and
wanted ones together: all are ratios of sums over cases. So one form holds them all, a case says what it gives to either
sum, and any metric can be computed again for the cases that two runs share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from assistant.evaluation.measures import BLOCK, CONFIDENCE, SEED, Floats

RESAMPLES = 2_000
DIGITS = 4

Counts = Mapping[str, tuple[float, float]]  # metric -> what a case gives to the numerator and to the denominator
Unit = Literal["share", "seconds", "usd"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """``gate``: a loss counts against a run (a slow machine's seconds do not)."""

    name: str
    title: str
    better: Better = "higher"
    gate: bool = True
    unit: Unit = "share"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """``id`` is unique in its run; ``detail`` holds JSON for the reader: what was asked, and what came of it."""

    id: str
    title: str
    counts: Counts
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part that was not measured, and why: never silently."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A whole run. ``about``: what it was measured with; ``remarks``: sentences for whoever reads the numbers."""

    suite: str
    subject: str
    model: str
    metrics: Sequence[Metric]
    cases: Sequence[CaseResult]
    about: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    remarks: Sequence[str] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Value:
    """A metric over ``cases`` cases, with its 95 % bootstrap interval over cases."""

    value: float
    low: float
    high: float
    cases: int


def yes_no(passed: bool) -> tuple[float, float]:
    """What a case gives to a share of cases."""
    return (float(passed), 1.0)


def ratio(cases: Sequence[CaseResult], name: str) -> float | None:
    """The metric over these cases; None where nothing counts."""
    numerator, denominator = _sums(cases, name)
    total = denominator.sum()
    return float(numerator.sum() / total) if total else None


def summary(cases: Sequence[CaseResult], metrics: Sequence[Metric]) -> dict[str, Value]:
    """Each metric that some case counts for."""
    found = {}
    for metric in metrics:
        own = [case for case in cases if metric.name in case.counts]
        value = ratio(own, metric.name)
        if value is not None:
            low, high = np.quantile(_resampled(own, metric.name), _TAILS)
            found[metric.name] = Value(value, float(low), float(high), len(own))
    return found


def difference(before: Sequence[CaseResult], after: Sequence[CaseResult], name: str) -> Value | None:
    """``after`` minus ``before`` on cases that both hold, paired: ``before[i]`` and ``after[i]`` are one case."""
    first, second = ratio(before, name), ratio(after, name)
    if first is None or second is None:
        return None
    drawn = _weights(len(before))
    found = _ratios(drawn, *_sums(after, name)) - _ratios(drawn, *_sums(before, name))
    low, high = np.nanquantile(found, _TAILS)
    return Value(second - first, float(low), float(high), len(before))


_TAILS = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]


def _sums(cases: Sequence[CaseResult], name: str) -> tuple[Floats, Floats]:
    """What each case gives, two rows of shape (cases,); a case without the metric gives nothing."""
    pairs = np.array([case.counts.get(name, (0.0, 0.0)) for case in cases], dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _resampled(cases: Sequence[CaseResult], name: str) -> Floats:
    values = _ratios(_weights(len(cases)), *_sums(cases, name))
    return values[~np.isnan(values)]


def _weights(cases: int) -> Floats:
    """How often each case is drawn, shape (resamples, cases); the same for the same number of cases."""
    random = np.random.default_rng(SEED)
    step = max(1, BLOCK // cases)
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    even = np.full(cases, 1 / cases)
    return np.concatenate([random.multinomial(cases, even, size=size) for size in sizes]).astype(np.float64)


def _ratios(weights: Floats, numerator: Floats, denominator: Floats) -> Floats:
    """NaN where the resample holds nothing that counts."""
    totals = weights @ denominator
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(totals > 0, (weights @ numerator) / totals, np.nan)
    return found


def run_json(measured: Measured) -> dict[str, Any]:
    """The run as a document: what is stored, printed, and read again as a baseline."""
    values = summary(measured.cases, measured.metrics)
    return {
        "suite": measured.suite,
        "subject": measured.subject,
        "model": measured.model,
        "seconds": round(measured.seconds, 2),
        "metrics": {
            metric.name: _metric_json(metric, values[metric.name])
            for metric in measured.metrics
            if metric.name in values
        },
        "about": dict(measured.about),
        "skipped": [{"part": skipped.part, "reason": skipped.reason} for skipped in measured.skipped],
        "remarks": list(measured.remarks),
        "cases": [
            {
                "id": case.id,
                "title": case.title,
                "counts": {name: [round(float(part), 6) for part in pair] for name, pair in case.counts.items()},
                "detail": dict(case.detail),
            }
            for case in measured.cases
        ],
    }


def cases_of(document: Mapping[str, Any]) -> list[CaseResult]:
    """The cases of a ``run_json``."""
    return [
        CaseResult(
            row["id"], row["title"], {name: (pair[0], pair[1]) for name, pair in row["counts"].items()}, row["detail"]
        )
        for row in document["cases"]
    ]


def metrics_of(document: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a ``run_json``, in its order."""
    return [
        Metric(name, row["title"], row["better"], row["gate"], row["unit"]) for name, row in document["metrics"].items()
    ]


def _metric_json(metric: Metric, value: Value) -> dict[str, Any]:
    digits = 6 if metric.unit == "usd" else DIGITS
    return {
        "title": metric.title,
        "value": round(value.value, digits),
        "low": round(value.low, digits),
        "high": round(value.high, digits),
        "cases": value.cases,
        "better": metric.better,
        "gate": metric.gate,
        "unit": metric.unit,
    }
