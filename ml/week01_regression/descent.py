"""Gradient descent: the training cycle that every later week repeats, on the one problem whose answer we know.

Idea.     predict, measure the loss, take the gradient, step against it, look again. For least squares
              L(theta)    = 1/(2n) |A theta - y|^2
              grad L      = 1/n A'(A theta - y)
          A step of 1/lambda_max (the largest eigenvalue of A'A/n) never overshoots; the error then shrinks by
          (1 - 1/kappa) a step, kappa = lambda_max / lambda_min. So features on very different scales (age in years
          beside a count in thousands) make it crawl: standardise first.
Why.      QR costs n d^2 and needs the whole table. A gradient needs a batch, and it does not need linearity.
Source.   Cauchy 1847; Robbins & Monro 1951 for the stochastic version; CS229 notes, section 1.1.
Left out. Momentum, Adam and schedules: week 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, check
from ml.week01_regression.linear import Linear, with_ones

Objective = Callable[[Floats], tuple[float, Floats]]  # theta (p,) -> loss, gradient (p,)


@dataclass(frozen=True)
class Descent:
    """Where it ended, ``theta`` (p,), and the ``losses`` (steps,) on the way; ``converged``: the gradient vanished."""

    theta: Floats
    losses: Floats
    converged: bool


def squared_loss(a: Floats, y: Floats) -> Objective:
    """The objective L above for the design A (n, p) and targets y (n,)."""

    def objective(theta: Floats) -> tuple[float, Floats]:
        residual = a @ theta - y  # (n,)   A theta - y
        loss = float(residual @ residual) / (2 * len(y))  #   1/(2n) |.|^2
        return loss, a.T @ residual / len(y)  # (p,)   1/n A' residual

    return objective


def safe_rate(a: Floats) -> float:
    """1 / lambda_max(A'A / n), A (n, p): the longest step that is sure to go down."""
    return float(len(a) / np.linalg.norm(a, 2) ** 2)  # the 2-norm is the largest singular value


def descend(objective: Objective, start: Floats, rate: float, steps: int, tolerance: float = 0.0) -> Descent:
    """theta <- theta - rate * gradient, until no entry of the gradient exceeds ``tolerance`` or steps run out.

    Raises ValueError when the loss explodes: the rate was too large.
    """
    theta = start.copy()  # (p,)
    losses = []
    for _ in range(steps):
        loss, gradient = objective(theta)  # forward and backward: one look at the data
        losses.append(loss)
        if not np.isfinite(loss) or loss > 1e6 * (losses[0] + 1):
            raise ValueError(f"The loss grew from {losses[0]:.3g} to {loss:.3g}: a rate of {rate:g} is too large.")
        if np.abs(gradient).max() <= tolerance:
            return Descent(theta, np.array(losses), converged=True)
        theta = theta - rate * gradient  # (p,)
    return Descent(theta, np.array(losses), converged=False)


def fit_descent(x: Floats, y: Floats, steps: int = 20_000, tolerance: float = 1e-9) -> tuple[Linear, Descent]:
    """Least squares by gradient descent from zero with the safe rate; the same minimum as ``linear.fit_qr``."""
    check(x, y)
    a = with_ones(x)  # (n, p)
    run = descend(squared_loss(a, y), np.zeros(a.shape[1]), safe_rate(a), steps, tolerance)
    return Linear(float(run.theta[0]), run.theta[1:]), run


def fit_stochastic(
    x: Floats, y: Floats, rng: np.random.Generator, epochs: int, batch: int, rate: float, decay: bool = True
) -> tuple[Linear, Floats]:
    """The same loss, one mini-batch at a time; returns the fit and the loss over all rows after each epoch (epochs,).

    An *epoch* is one pass over the shuffled table. A batch's gradient is right on average only: with a constant rate
    theta ends by jittering around the minimum; rate / (1 + epoch) lets it settle (Robbins & Monro).
    """
    check(x, y)
    a = with_ones(x)  # (n, p)
    theta = np.zeros(a.shape[1])  # (p,)
    whole = squared_loss(a, y)
    losses = []
    for epoch in range(epochs):
        step = rate / (1 + epoch) if decay else rate
        order = rng.permutation(len(y))  # (n,) shuffled anew: rows in a fixed order would bias the walk
        for rows in np.array_split(order, max(1, len(y) // batch)):  # each (batch,) or a row or so more
            _, gradient = squared_loss(a[rows], y[rows])(theta)  # (p,)
            theta = theta - step * gradient  # (p,)
        losses.append(whole(theta)[0])
    return Linear(float(theta[0]), theta[1:]), np.array(losses)
