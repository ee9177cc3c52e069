"""Two runs of one suite, on the cases that both hold: what was gained and lost, case by case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.evaluation.results import DIGITS, CaseResult, Metric, cases_of, difference, metrics_of, ratio

SAME = 5e-4  # a change of a case that is smaller is none


class NotComparable(AlmanacError):
    """The two runs have nothing in common that could be compared."""


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Both are ``assistant.evaluation.results.run_json`` documents; raises ``NotComparable``.

    ``metrics``: before, after, the difference with its paired 95 % interval, and ``loss``, which is positive where the
    metric became worse. ``cases``: those whose value changed, losses before gains. ``missing``: gated metrics that
    only the earlier run has.
    """
    if before["suite"] != after["suite"]:
        raise NotComparable(f"A run of {before['suite']} says nothing about one of {after['suite']}.")
    old, new = ({case.id: case for case in cases_of(document)} for document in (before, after))
    shared = [name for name in new if name in old]
    if not shared:
        raise NotComparable("The two runs share no case.")
    pairs = [(old[name], new[name]) for name in shared]
    metrics = metrics_of(after)
    gated = [metric.name for metric in metrics_of(before) if metric.gate]
    return {
        "with": {key: before.get(key) for key in ("run", "subject", "model", "created_at")},
        "shared_cases": len(shared),
        "new_cases": len(new) - len(shared),
        "gone_cases": len(old) - len(shared),
        "missing": [name for name in gated if name not in after["metrics"]],
        "metrics": {metric.name: found for metric in metrics if (found := _metric(metric, pairs)) is not None},
        "cases": _changed(metrics, pairs),
    }


def losses(compared: Mapping[str, Any], most: float) -> list[str]:
    """A sentence for each gated metric that lost more than ``most``."""
    found = []
    for row in compared["metrics"].values():
        if row["gate"] and row["loss"] > most + 1e-9:
            moved = "fell" if row["better"] == "higher" else "rose"
            found.append(
                f"{row['title']} {moved} from {row['before']:.3f} to {row['after']:.3f}, "
                f"which is more than the {most:g} that may be lost."
            )
    return found


def read_baseline(path: Path, suite: str) -> dict[str, Any]:
    """A run that was printed with ``--json``; of a document of several runs, the one of ``suite``."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotComparable(f"{path} cannot be read ({error.strerror or type(error).__name__}).") from None
    except ValueError:
        raise NotComparable(f"{path} is not JSON.") from None
    runs = document.get("runs", [document]) if isinstance(document, dict) else []
    for run in runs:
        if isinstance(run, dict) and run.get("suite") == suite and {"cases", "metrics"} <= run.keys():
            return run
    raise NotComparable(f"{path} holds no run of {suite}, as `almanac eval {suite} --json` prints it.")


def _metric(metric: Metric, pairs: list[tuple[CaseResult, CaseResult]]) -> dict[str, Any] | None:
    """The metric on the cases that count for it in either run."""
    own = [pair for pair in pairs if any(metric.name in case.counts for case in pair)]
    before, after = [pair[0] for pair in own], [pair[1] for pair in own]
    change = difference(before, after, metric.name) if own else None
    if change is None:
        return None
    sign = 1 if metric.better == "lower" else -1
    return {
        "title": metric.title,
        "before": round(ratio(before, metric.name) or 0.0, 6),
        "after": round(ratio(after, metric.name) or 0.0, 6),
        "difference": round(change.value, DIGITS),
        "low": round(change.low, DIGITS),
        "high": round(change.high, DIGITS),
        "loss": round(sign * change.value, 6),
        "better": metric.better,
        "gate": metric.gate,
        "unit": metric.unit,
    }


def _changed(metrics: list[Metric], pairs: list[tuple[CaseResult, CaseResult]]) -> list[dict[str, Any]]:
    found = []
    for metric in metrics:
        if not metric.gate:
            continue
        sign = 1 if metric.better == "lower" else -1
        for before, after in pairs:
            first, second = ratio([before], metric.name), ratio([after], metric.name)
            if first == second or (first is not None and second is not None and abs(second - first) < SAME):
                continue
            loss = sign * (second - first) if first is not None and second is not None else 0.0
            found.append(_case(metric, before, after, first, second, loss))
    return sorted(found, key=lambda row: (row["loss"] <= 0, -abs(row["loss"])))  # losses, then gains, the largest first


def _case(
    metric: Metric, before: CaseResult, after: CaseResult, first: float | None, second: float | None, loss: float
) -> dict[str, Any]:
    rounded = [None if value is None else round(value, DIGITS) for value in (first, second)]
    return {
        "id": after.id,
        "title": after.title,
        "metric": metric.name,
        "metric_title": metric.title,
        "before": rounded[0],
        "after": rounded[1],
        "loss": round(loss, DIGITS),
        "said_before": before.detail.get("said"),
        "said_after": after.detail.get("said"),
    }
