"""Calibration: does "80 % sure" come true 80 times in 100? What a probability needs before anyone may act on it.

Idea.     Group predictions by their probability; in a calibrated model the mean probability of a group is the share of
          positives in it. ECE is the mean gap, weighted by size. Brier's score, the mean of (p - y)^2, is *proper*: in
          expectation only the true probability minimises it, so it cannot be gamed.
Mending.  *Platt scaling* fits a logistic regression on the model's one score, with held-out rows: p = sigma(a s + b).
          It is monotonic, so the ranking (AUC) stays, only the meaning of the numbers changes.
Source.   Brier 1950; Murphy 1973; Platt 1999; Niculescu-Mizil & Caruana 2005; Guo et al. 2017 (ECE).
Left out. Isotonic regression (exercise 4); calibration of more than two classes.
"""

from __future__ import annotations

import numpy as np

from ml.week01_regression.data import Floats, Integers
from ml.week01_regression.logistic import Logistic, fit_logistic


def brier(truth: Integers, probability: Floats) -> float:
    """Mean of (p - y)^2, (n,) and (n,): 0 is perfect, 0.25 is what a constant 1/2 gets."""
    return float(np.mean((probability - truth) ** 2))


def log_loss(truth: Integers, probability: Floats) -> float:
    """Mean surprise -log p(truth) in nats; probabilities are kept 2e-16 away from 0 and 1, where it is infinite."""
    tiny = np.finfo(float).eps
    p = np.clip(probability, tiny, 1 - tiny)  # (n,)
    return float(-np.mean(np.where(truth == 1, np.log(p), np.log1p(-p))))


def reliability(truth: Integers, probability: Floats, bins: int = 10) -> tuple[Floats, Floats, Integers]:
    """Mean probability, share of positives and count of each bin of equal width that is not empty: (b,) each.

    Raises ValueError for a probability outside 0..1.
    """
    if probability.min() < 0 or probability.max() > 1:
        raise ValueError("Probabilities lie in 0..1; for scores fit a calibration first.")
    edges = np.linspace(0, 1, bins + 1)[1:-1]  # (bins - 1,) the inner ones
    where = np.searchsorted(edges, probability)  # (n,) 0..bins-1
    count = np.bincount(where, minlength=bins)  # (bins,)
    full = count > 0  # (bins,)
    mean = np.bincount(where, probability, bins)[full] / count[full]  # (b,)
    share = np.bincount(where, truth, bins)[full] / count[full]  # (b,)
    return mean, share, count[full]


def expected_calibration_error(truth: Integers, probability: Floats, bins: int = 10) -> float:
    """ECE = sum_b count_b / n |share_b - mean_b|. It depends on the bins: say how many, and compare with the same."""
    mean, share, count = reliability(truth, probability, bins)
    return float(count @ np.abs(share - mean) / len(truth))


def murphy(truth: Integers, probability: Floats) -> tuple[float, float, float]:
    """Reliability, resolution and uncertainty: Brier = reliability - resolution + uncertainty, exactly.

    One group for each probability that occurs. Reliability is what calibration can mend; resolution, how far the
    groups differ from the base rate, is what only a better model can; uncertainty is the data's.
    """
    values, group = np.unique(probability, return_inverse=True)  # (g,), (n,)
    count = np.bincount(group)  # (g,)
    share = np.bincount(group, truth) / count  # (g,)
    base = truth.mean()
    n = len(truth)
    return float(count @ (values - share) ** 2 / n), float(count @ (share - base) ** 2 / n), float(base * (1 - base))


def platt(truth: Integers, scores: Floats) -> Logistic:
    """p = sigma(a s + b) fitted on rows that the model was not trained on: truth (n,), scores (n,).

    Platt's targets are (P + 1)/(P + 2) and 1/(N + 2) instead of 1 and 0, P and N the counts: one imagined example of
    the other kind, so that a perfect ranking of few rows does not end in certainty.
    """
    positives = int(truth.sum())
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2))  # (n,)
    return fit_logistic(scores[:, None], target)
