"""Leakage: two ways to measure 80 % on data where nothing can be learned.

Idea.     The labels here are coin flips, so every honest estimate is 50 %. (1) Features are chosen by their correlation
          with the label *before* cross-validation: the held-out rows took part in the choice. (2) Near copies of a row
          lie on both sides of the split: the model recognises them. Both are common: feature selection in a notebook's
          first cell; paraphrases of one question, chunks of one document, pictures of one patient.
The rule. All that looks at the target, or at other rows, goes inside the fold. Split by what will be new in production.
Source.   Hastie, Tibshirani & Friedman 2009, section 7.10.2 (the wrong and the right way); Kaufman et al. 2012.
Left out. Leaks by time and by features that are only known after the fact ("number of refunds" to predict fraud).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ml.week01_regression.data import Floats, Integers
from ml.week01_regression.metrics import accuracy
from ml.week01_regression.ridge import fit_ridge
from ml.week01_regression.splits import cross_validate, group_folds, k_folds


def most_correlated(x: Floats, y: Floats, keep: int) -> Integers:
    """The columns of x (n, d) that correlate most with y (n,), (keep,): *learned*, though no model is in sight."""
    centred = x - x.mean(axis=0)  # (n, d)
    correlation = centred.T @ (y - y.mean()) / np.linalg.norm(centred, axis=0)  # (d,) up to a common factor
    return np.argsort(-np.abs(correlation))[:keep]  # (keep,)


def sign_accuracy(x: Floats, y: Integers, folds: Iterator[tuple[Integers, Integers]], penalty: float = 1.0) -> float:
    """Cross-validated accuracy of ridge on -1/+1, the simplest linear classifier: x (n, d), y (n,) of 0 and 1."""

    def score(train: Integers, held_out: Integers) -> float:
        model = fit_ridge(x[train], 2.0 * y[train] - 1, penalty)
        return accuracy(y[held_out], (model.predict(x[held_out]) > 0).astype(int))

    return float(cross_validate(folds, score).mean())


def selection_leak(rng: np.random.Generator, n: int = 50, d: int = 2000, keep: int = 20) -> tuple[float, float]:
    """Accuracy on noise with the columns chosen from all rows (wrong) and inside each fold (right)."""
    x, y = rng.standard_normal((n, d)), rng.integers(2, size=n)  # (n, d), (n,)
    leaky = sign_accuracy(x[:, most_correlated(x, y.astype(float), keep)], y, k_folds(n, 5, rng))

    def honest(train: Integers, held_out: Integers) -> float:
        columns = most_correlated(x[train], y[train].astype(float), keep)  # (keep,) held-out rows are not asked
        model = fit_ridge(x[np.ix_(train, columns)], 2.0 * y[train] - 1, 1.0)
        return accuracy(y[held_out], (model.predict(x[np.ix_(held_out, columns)]) > 0).astype(int))

    return leaky, float(cross_validate(k_folds(n, 5, rng), honest).mean())


def copies_leak(rng: np.random.Generator, groups: int = 40, copies: int = 5, d: int = 60) -> tuple[float, float]:
    """Accuracy on noise with near copies split at random (wrong) and kept together (right)."""
    original, label = rng.standard_normal((groups, d)), rng.integers(2, size=groups)  # (g, d), (g,)
    group = np.repeat(np.arange(groups), copies)  # (n,), n = g * copies
    x = original[group] + 0.3 * rng.standard_normal((len(group), d))  # (n, d)
    y = label[group]  # (n,)
    return sign_accuracy(x, y, k_folds(len(y), 5, rng)), sign_accuracy(x, y, group_folds(group, 5, rng))


def repeat(leak: Callable[[np.random.Generator], tuple[float, float]], rng: np.random.Generator, times: int) -> Floats:
    """(times, 2) accuracies, wrong and right, of ``times`` fresh tables."""
    return np.array([leak(rng) for _ in range(times)])
