"""Feature engineering: turning what is known about an example into columns that a linear model can use.

Idea.     A linear model can only add. What it cannot express has to be put into its columns: scales made alike
          (*standardising*), names as indicators (*one-hot*), curves as powers (*polynomial*), "this matters only when
          that does" as products (*interactions*). Whatever is *learned* from data (a mean, a list of categories) is
          learned from the training rows and then only applied to the others: hence fit and transform, two steps.
Source.   Google's Machine Learning Crash Course, "Numerical data" and "Categorical data".
Left out. Learned features: that is what the hidden layers of week 2 and the embeddings of week 3 are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import comb

import numpy as np
import numpy.typing as npt

from ml.week01_regression.data import Floats, check


@dataclass(frozen=True)
class Standardiser:
    """z = (x - mean) / scale, column by column; ``mean`` and ``scale`` (d,) are those of the training rows."""

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, x: Floats) -> Standardiser:
        """Mean and standard deviation (over n, not n - 1) of x (n, d)."""
        check(x)
        mean = x.mean(axis=0)  # (d,)
        scale = x.std(axis=0)  # (d,)
        # a column that never varies says nothing; dividing by its zero would say NaN. Rounding may leave 1e-16 of it
        constant = scale <= 10 * np.finfo(float).eps * np.abs(mean)  # (d,)
        return cls(mean, np.where(constant, 1.0, scale))

    def transform(self, x: Floats) -> Floats:
        """(m, d) -> (m, d) with the numbers that ``fit`` saw, whatever the mean of these rows is."""
        return (x - self.mean) / self.scale  # (m, d)


@dataclass(frozen=True)
class OneHot:
    """An indicator column for each category of one column; ``categories`` (K,) sorted."""

    categories: npt.NDArray[np.generic]

    @classmethod
    def fit(cls, values: Sequence[str] | npt.NDArray[np.generic]) -> OneHot:
        """The categories among values (n,)."""
        return cls(np.unique(np.asarray(values)))

    def transform(self, values: Sequence[str] | npt.NDArray[np.generic]) -> Floats:
        """(m,) -> (m, K). A category that training never saw becomes a row of zeros, not an error in production.

        Why not number the categories 0, 1, 2: a linear model would read "Oslo = 2 x Bern" into it. Beside an
        intercept the K columns are dependent (they add up to one): drop the first, or use a penalty.
        """
        return (np.asarray(values)[:, None] == self.categories).astype(np.float64)  # (m, 1) == (K,) -> (m, K)


def polynomial(x: Floats, degree: int) -> Floats:
    """All products of up to ``degree`` features, repeats allowed, (n, d) -> (n, C(d + degree, degree) - 1).

    For d = 2, degree = 2: x1, x2, x1^2, x1 x2, x2^2. Still linear *in the weights*, so ``linear.fit_qr`` fits curves.
    The count grows as d^degree: 30 features of degree 3 are 5,455 columns. Raises ValueError for a degree below 1.
    """
    check(x)
    if degree < 1:
        raise ValueError(f"A polynomial has a degree of at least 1, not {degree}.")
    d = x.shape[1]
    out = np.empty((len(x), comb(d + degree, degree) - 1))  # (n, columns)
    chosen = (pick for size in range(1, degree + 1) for pick in combinations_with_replacement(range(d), size))
    for column, pick in enumerate(chosen):  # pick: (0, 0, 1) stands for x0^2 x1
        out[:, column] = x[:, list(pick)].prod(axis=1)  # (n,)
    return out


def interactions(x: Floats) -> Floats:
    """The features and their pairwise products, (n, d) -> (n, d + d(d-1)/2).

    y = x1 XOR x2 cannot be told by any line in x1 and x2; with the column x1 x2 it can.
    """
    check(x)
    products = [x[:, i] * x[:, j] for i, j in combinations(range(x.shape[1]), 2)]  # each (n,)
    return np.column_stack([x, *products])  # (n, d + d(d-1)/2)
