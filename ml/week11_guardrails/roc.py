"""ROC curves: what a detector's score is worth at every threshold, and the threshold that a promise asks for.

The idea: a detector gives scores, a policy needs a yes or no. Lower the threshold from above: each attack that is
passed raises the true-positive rate TP / P, each harmless text the false-positive rate FP / N. The area under that path
is the chance that a random attack scores above a random harmless text (Hanley and McNeil 1982).

Left out: precision-recall curves (week 1), confidence bands of the curve.
"""

from __future__ import annotations

import numpy as np


def curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-positive rates, true-positive rates and thresholds, from "nothing is flagged" to "everything is".

    ``labels`` (N,) hold 0 or 1, ``scores`` (N,) any real numbers, higher for 1. Equal scores move together, which makes
    the path diagonal there: their order is a coin's.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels and scores need one common length, not {labels.shape} and {scores.shape}")
    if not 0 < labels.sum() < len(labels):
        raise ValueError("a ROC curve needs at least one of each: an attack and a harmless text")
    order = np.argsort(-scores, kind="stable")  # (N,) best first
    last = np.append(np.diff(scores[order]) != 0, True)  # (N,) the last of each run of equal scores
    hits = np.cumsum(labels[order])[last]  # (T,) attacks at or above each distinct threshold
    alarms = np.cumsum(1 - labels[order])[last]  # (T,)
    rates = np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])  # (T + 1,) each
    return *rates, np.append(np.inf, scores[order][last])


def area(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, by trapezoids; 0.5 is a coin."""
    false, true, _ = curve(labels, scores)
    return float(np.trapezoid(true, false))


def threshold_at(labels: np.ndarray, scores: np.ndarray, false_alarms: float) -> tuple[float, float]:
    """The lowest threshold whose false-positive rate is at most ``false_alarms``, and the true-positive rate there.

    Choose it on data that fitted nothing, or the promise will not hold.
    """
    false, true, thresholds = curve(labels, scores)
    allowed = np.flatnonzero(false <= false_alarms)[-1]  # rates only rise along the curve
    return float(thresholds[allowed]), float(true[allowed])
