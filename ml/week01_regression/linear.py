"""Linear regression, solved exactly: the plane that is nearest to the points, by QR and not by inverting X'X.

Idea.     y = b + x w, with b and w chosen to make the sum of squared errors as small as can be. At the minimum the
          residual is orthogonal to every column: A'(y - A theta) = 0, the *normal equations*. A QR factorisation
          A = QR turns them into R theta = Q'y, triangular, without ever forming A'A.
Why QR.   cond(A'A) = cond(A)^2: solving the normal equations throws away half of the digits (``digits_lost``).
Source.   Legendre 1805, Gauss 1809; Golub 1965 for QR; CS229 notes, chapter 1.
Left out. Standard errors of the weights (``logistic`` has them), pivoted QR for tables without full rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, check


@dataclass(frozen=True)
class Linear:
    """The fitted plane: ``intercept`` b in units of y, ``weights`` (d,) in units of y per unit of each feature."""

    intercept: float
    weights: Floats

    def predict(self, x: Floats) -> Floats:
        """y^ = b + x w, (n, d) -> (n,)."""
        return self.intercept + x @ self.weights  # (n,)


def with_ones(x: Floats) -> Floats:
    """[1, x], (n, d) -> (n, d + 1): the intercept becomes the weight of a column that is always one."""
    return np.column_stack([np.ones(len(x)), x])  # (n, d + 1)


def fit_qr(x: Floats, y: Floats) -> Linear:
    """Ordinary least squares by QR: theta = R^-1 Q'y.

    Raises ValueError where the columns are not independent: then infinitely many weights are equally good, and which
    one comes out would be chance. Drop a column, or use ``ridge``.
    """
    check(x, y)
    a = with_ones(x)  # (n, p), p = d + 1
    if len(a) < a.shape[1]:
        raise ValueError(f"{a.shape[1]} weights cannot be told from {len(a)} examples.")
    q, r = np.linalg.qr(a)  # (n, p) with Q'Q = I, (p, p) upper triangular
    scale = np.linalg.norm(r, axis=0)  # (p,) lengths of A's columns, for Q does not change a length
    # |r_jj| is what is left of column j after all columns before it are projected out: nothing, if it depends on them
    if (np.abs(np.diag(r)) <= scale * max(a.shape) * np.finfo(float).eps).any():
        raise ValueError("The columns are not independent: one of them is a combination of the others.")
    theta = np.linalg.solve(r, q.T @ y)  # (p,)   R theta = Q'y
    return Linear(float(theta[0]), theta[1:])


def fit_normal_equations(x: Floats, y: Floats) -> Linear:
    """The textbook's theta = (A'A)^-1 A'y: the same minimum on paper, half of its digits in floating point."""
    check(x, y)
    a = with_ones(x)  # (n, p)
    theta = np.linalg.solve(a.T @ a, a.T @ y)  # (p,)
    return Linear(float(theta[0]), theta[1:])


def digits_lost(rng: np.random.Generator, degree: int, n: int = 200) -> tuple[float, float, float]:
    """A polynomial of known coefficients (all one), refitted by both ways from its own exact values.

    Returns cond(A) and the largest error of a coefficient by QR and by the normal equations. There is no noise, so
    all that is seen is rounding, about cond(A) * 1e-16 and cond(A)^2 * 1e-16.
    """
    x = rng.uniform(0, 1, n)[:, None] ** np.arange(1, degree + 1)  # (n, degree) powers of x: nearly parallel columns
    y = 1 + x.sum(axis=1)  # (n,)
    errors = [float(np.abs(fit(x, y).weights - 1).max()) for fit in (fit_qr, fit_normal_equations)]
    return float(np.linalg.cond(with_ones(x))), errors[0], errors[1]
