"""Metrics of decisions: what a prediction that is already made is worth.

Idea.     All of them are read from the *confusion matrix*. With one class called positive,
              precision = TP / (TP + FP)      of what was flagged, how much was right?
              recall    = TP / (TP + FN)      of what was there, how much was flagged?
              F1        = 2 TP / (2 TP + FP + FN)      their harmonic mean: high only if both are
Why not accuracy alone: with 1 % positives, "never" is 99 % accurate and finds nothing.
Source.   van Rijsbergen 1979 (F); Google's Crash Course, "Classification".
Left out. F-beta, Matthews' correlation, top-k accuracy. Ranks without a threshold: ``ranking``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ml.week01_regression.data import Floats, Integers

Labels = npt.NDArray[Any]


def rmse(truth: Floats, predicted: Floats) -> float:
    """Root mean squared error, (n,) and (n,), in the units of the target."""
    _same(truth, predicted)
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def r_squared(truth: Floats, predicted: Floats) -> float:
    """1 - |y - y^|^2 / |y - mean(y)|^2: the share of the variance explained; below zero if the mean would be better."""
    _same(truth, predicted)
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def accuracy(truth: Labels, predicted: Labels) -> float:
    """The share of right answers, (n,) and (n,)."""
    _same(truth, predicted)
    return float(np.mean(truth == predicted))


def confusion_matrix(truth: Integers, predicted: Integers, classes: int) -> Integers:
    """(K, K) counts: row the true class, column the predicted one; the diagonal is right."""
    _same(truth, predicted)
    cell = truth * classes + predicted  # (n,) each pair as one number
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes)  # (K, K)


def precision_recall_f1(matrix: Integers) -> tuple[Floats, Floats, Floats]:
    """Each class in turn as the positive one, (K, K) -> three times (K,).

    Where nothing was flagged (or nothing was there) the ratio is 0/0; it counts as 0, as scikit-learn's does.
    """
    hits = np.diag(matrix)  # (K,)   TP
    flagged, present = matrix.sum(axis=0), matrix.sum(axis=1)  # (K,) TP + FP, (K,) TP + FN
    return _ratio(hits, flagged), _ratio(hits, present), _ratio(2 * hits, flagged + present)


def macro(values: Floats) -> float:
    """The plain mean over classes, (K,): a rare class counts as much as a common one."""
    return float(values.mean())


def _ratio(part: Integers, whole: Integers) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)  # (K,)


def _same(truth: Labels, predicted: Labels) -> None:
    if truth.shape != predicted.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(f"Truth and prediction are two lists of one length, not {truth.shape} and {predicted.shape}.")
