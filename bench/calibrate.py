"""Fits the confidence of ``assistant.answering.confidence`` on the dev questions, and draws what it does.

``python -m bench.calibrate`` prints the weights to be written there, and writes ``docs/calibration.png``. The test
questions are only looked at, never fitted on.
"""

from __future__ import annotations

import asyncio
from dataclasses import astuple, fields
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from assistant.answering import confidence
from assistant.answering.confidence import Evidence
from bench.answers import Asked, measure
from bench.world import ROOT

Floats = npt.NDArray[np.float64]

PENALTY = 0.002  # on squared weights: few questions must not give large ones


def features(asked: list[Asked]) -> tuple[Floats, Floats]:
    """Evidence, shape (n, fields), and whether the documents answer, shape (n,)."""
    return (
        np.array([astuple(one.evidence) for one in asked], dtype=np.float64),
        np.array([one.row["answerable"] for one in asked], dtype=np.float64),
    )


def fit(x: Floats, y: Floats) -> tuple[float, list[float]]:
    """Logistic regression with both classes of equal weight and no negative weights: all evidence speaks for."""
    balance = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))

    def loss(parameters: Floats) -> float:
        margin = (parameters[0] + x @ parameters[1:]) * (2 * y - 1)
        return float((balance * np.logaddexp(0, -margin)).mean() + PENALTY * (parameters[1:] ** 2).mean())

    bounds = [(None, None)] + [(0, None)] * x.shape[1]
    best = minimize(loss, np.zeros(x.shape[1] + 1), bounds=bounds).x
    return float(best[0]), [float(weight) for weight in best[1:]]


def draw(groups: dict[str, list[Asked]], path: Path) -> None:
    """Left: the probabilities of both kinds. Right: what each threshold would answer and refuse."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    everything = [one for asked in groups.values() for one in asked]
    for answerable, colour, label in ((True, "#2f6f4f", "answerable"), (False, "#b5562f", "not in the documents")):
        values = [confidence.probability(one.evidence) for one in everything if one.row["answerable"] is answerable]
        left.hist(
            values, bins=np.linspace(0, 1, 21).tolist(), alpha=0.65, color=colour, label=f"{label} (n={len(values)})"
        )
    left.axvline(confidence.THRESHOLD, color="black", linewidth=1, linestyle="--", label="threshold")
    left.set(xlabel="probability that the documents answer", ylabel="questions", title="All questions")
    left.legend()
    thresholds = np.linspace(0, 1, 101)
    for (name, asked), style in zip(groups.items(), ("-", "--", ":", "-."), strict=False):
        for answerable, colour in ((True, "#2f6f4f"), (False, "#b5562f")):
            values = np.array(
                [confidence.probability(one.evidence) for one in asked if one.row["answerable"] is answerable]
            )
            passed = [(values >= limit).mean() if answerable else (values < limit).mean() for limit in thresholds]
            what = "answered" if answerable else "refused"
            right.plot(thresholds, passed, style, color=colour, label=f"{name}: {what} (n={len(values)})")
    right.axvline(confidence.THRESHOLD, color="black", linewidth=1, linestyle="--")
    right.set(xlabel="threshold", ylabel="share", title="What a threshold would do", ylim=(0, 1.02))
    right.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    results = asyncio.run(measure(weigh=True))
    dev = [one for asked in results.values() for one in asked if one.row["split"] == "dev"]
    bias, weights = fit(*features(dev))
    names = [field.name for field in fields(Evidence)]
    print("BIAS =", round(bias, 2))
    print("WEIGHTS =", {name: round(weight, 2) for name, weight in zip(names, weights, strict=True)})
    groups = {
        f"{name} {split}": [one for one in asked if one.row["split"] == split]
        for name, asked in results.items()
        for split in ("dev", "test")
    }
    draw(groups, ROOT / "docs" / "calibration.png")


if __name__ == "__main__":
    main()
