"""Metrics of scores: how well positives are ranked above negatives, over all thresholds at once.

Idea.     Lower the threshold step by step. Recall (= true positive rate) against the false positive rate draws the
          *ROC* curve, precision against recall the *PR* curve. The area under ROC has a plain meaning,
              AUC = P(score of a random positive > score of a random negative) + 1/2 P(equal).
Why both. ROC does not depend on how common positives are. Precision does: with 1 positive in 1,000, a false positive
          rate of 1 % sounds fine and means ten false alarms for each hit. Look at PR when positives are rare.
Source.   Hanley & McNeil 1982 (AUC as a probability); Davis & Goadrich 2006 (ROC against PR).
Left out. Confidence intervals of AUC (DeLong); graded relevance: nDCG, week 9.
"""

from __future__ import annotations

import numpy as np

from ml.week01_regression.data import Floats, Integers


def counts_at_thresholds(truth: Integers, scores: Floats) -> tuple[Integers, Integers, Floats]:
    """True and false positives when all scores >= threshold are flagged: (t,), (t,) and the thresholds (t,), falling.

    t is the number of *different* scores: rows with equal scores cannot be told apart, so they are flagged together.
    ``truth`` (n,) of 0 and 1. Raises ValueError where one of the two is missing.
    """
    if truth.shape != scores.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError("Truth is a list of 0 and 1, with one score each.")
    if truth.min() == truth.max():
        raise ValueError("A ranking needs both positives and negatives.")
    order = np.argsort(-scores, kind="stable")  # (n,) best first
    truth, scores = truth[order], scores[order]  # (n,), (n,)
    last = np.flatnonzero(np.r_[np.diff(scores) != 0, True])  # (t,) where a run of equal scores ends
    true = truth.cumsum()[last]  # (t,)
    return true, last + 1 - true, scores[last]


def roc_curve(truth: Integers, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """False positive rate, true positive rate, threshold: (t + 1,) each, from (0, 0) at infinity to (1, 1)."""
    true, false, thresholds = counts_at_thresholds(truth, scores)
    return np.r_[0, false / false[-1]], np.r_[0, true / true[-1]], np.r_[np.inf, thresholds]


def roc_auc(truth: Integers, scores: Floats) -> float:
    """The area under the ROC curve by trapezoids; a run of equal scores is a slope, which gives the 1/2 of a tie."""
    x, y, _ = roc_curve(truth, scores)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def auc_by_pairs(truth: Integers, scores: Floats) -> float:
    """The same number from its meaning: all pairs of a positive and a negative, O(n^2)."""
    positive, negative = scores[truth == 1], scores[truth == 0]  # (P,), (N,)
    difference = positive[:, None] - negative  # (P, N)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def average_precision(truth: Integers, scores: Floats) -> float:
    """sum_t (recall_t - recall_{t-1}) precision_t: the area under PR in steps, for lines between would be too good."""
    true, false, _ = counts_at_thresholds(truth, scores)
    precision = true / (true + false)  # (t,)
    return float((np.diff(np.r_[0, true]) / true[-1]) @ precision)


def threshold_for_recall(truth: Integers, scores: Floats, recall: float) -> float:
    """The highest threshold that still flags this share of the positives. To be chosen on validation rows."""
    if not 0 < recall <= 1:
        raise ValueError(f"A recall lies in 0..1, above 0; {recall:g} does not.")
    true, _, thresholds = counts_at_thresholds(truth, scores)
    return float(thresholds[np.argmax(true >= recall * true[-1])])  # the first that is enough
