"""The lasso: a penalty on absolute values, which sets weights to exactly zero and so selects features.

Idea.     minimise 1/(2n) |y - b - X w|^2 + lambda |w|_1. In one weight at a time, with r the residual that leaves
          feature j out, the minimum has a closed form,
              w_j = S(x_j'r / n, lambda) / (x_j'x_j / n),     S(z, t) = sign(z) max(|z| - t, 0),
          so cycle through the weights until nothing is left to gain: *coordinate descent*.
Why zero. |w| has a corner at 0: a correlation below lambda is not worth its price. w^2 is flat there, so ridge
          makes weights small and never zero.
When to stop. The *duality gap*: any dual-feasible point gives a lower bound on the minimum, so the gap is a proof of
          how far from it we can still be. "The weights hardly moved" proves nothing.
Source.   Tibshirani 1996; Friedman, Hastie & Tibshirani 2010 (coordinate descent, paths).
Left out. Active sets and screening rules, which make it fast for very many features.
"""

from __future__ import annotations

import numpy as np

from ml.week01_regression.data import Floats, check
from ml.week01_regression.linear import Linear


def soft_threshold(z: float, t: float) -> float:
    """S(z, t): z moved towards zero by t, and stopped there."""
    return float(np.sign(z) * max(abs(z) - t, 0.0))


def largest_penalty(x: Floats, y: Floats) -> float:
    """The smallest lambda at which all weights are zero, max_j |x_j'(y - mean(y))| / n: where a path starts."""
    check(x, y)
    return float(np.abs((x - x.mean(axis=0)).T @ (y - y.mean())).max() / len(y))


def duality_gap(a: Floats, target: Floats, w: Floats, penalty: float) -> float:
    """How far the objective at w (d,) can be from its minimum; a (n, d) and target (n,) are centred.

    The dual is to maximise 1/n (u'target - |u|^2 / 2) over u (n,) with |a'u| <= n lambda in every entry; the residual,
    scaled until it fulfils that, is such a point.
    """
    n = len(target)
    residual = target - a @ w  # (n,)
    primal = residual @ residual / (2 * n) + penalty * np.abs(w).sum()
    steepest = np.abs(a.T @ residual).max()  # of (d,)
    u = residual * min(1.0, n * penalty / steepest) if steepest > 0 else residual  # (n,) dual feasible
    return float(primal - (u @ target - u @ u / 2) / n)


def fit_lasso(
    x: Floats, y: Floats, penalty: float, start: Floats | None = None, tolerance: float = 1e-12, sweeps: int = 10_000
) -> Linear:
    """x (n, d), y (n,), standardised columns. ``tolerance``: of the duality gap, as a share of the variance of y.

    ``start`` (d,) are weights to begin from. Raises ValueError where ``sweeps`` over all weights were not enough.
    """
    check(x, y)
    if penalty < 0:
        raise ValueError(f"A penalty is not negative, as {penalty:g} is.")
    n = len(y)
    middle, level = x.mean(axis=0), y.mean()  # (d,), ()
    a, target = np.asfortranarray(x - middle), y - level  # (n, d) by columns, for these are what is read; (n,)
    w = np.zeros(x.shape[1]) if start is None else start.copy()  # (d,)
    residual = target - a @ w  # (n,) kept up to date: O(n) a weight instead of O(n d)
    squares = (a**2).sum(axis=0) / n  # (d,)   x_j'x_j / n
    for _ in range(sweeps):
        for j in np.flatnonzero(squares):  # a constant column can explain nothing
            column = a[:, j]  # (n,)
            correlation = column @ residual / n + squares[j] * w[j]  # ()   x_j'r / n with feature j left out of r
            updated = soft_threshold(correlation, penalty) / squares[j]
            if updated != w[j]:
                residual += column * (w[j] - updated)  # (n,)
                w[j] = updated
        if duality_gap(a, target, w, penalty) <= tolerance * (target @ target) / n:
            return Linear(float(level - middle @ w), w)
    raise ValueError(f"Coordinate descent has not converged after {sweeps} sweeps; raise the penalty or the tolerance.")


def lasso_path(x: Floats, y: Floats, penalties: Floats) -> Floats:
    """Weights for each penalty, (m,) -> (m, d); each starts from the last, which is nearly its answer."""
    rows: list[Floats] = []
    for penalty in penalties:
        rows.append(fit_lasso(x, y, float(penalty), rows[-1] if rows else None, tolerance=1e-8).weights)
    return np.array(rows)  # (m, d)
