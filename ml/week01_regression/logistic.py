"""Logistic regression: a linear score turned into a probability, fitted by maximum likelihood.

Idea.     p = sigma(z) = 1 / (1 + e^-z), z = b + x w: each feature adds to the *log odds*. The loss is the surprise,
              L = -1/n sum_i [y_i log p_i + (1 - y_i) log(1 - p_i)] + lambda/(2n) |w|^2,
          convex, with gradient 1/n A'(p - y) + lambda/n w and Hessian 1/n A' diag(p(1-p)) A + lambda/n I. No closed
          form; Newton's method (theta <- theta - H^-1 g) is there in about ten steps, gradient descent in thousands.
Why not least squares on 0/1: it punishes the points that are right by far, and leaves 0..1.
Source.   Berkson 1944, Cox 1958; CS229 notes, chapter 2. lambda = 1/C of scikit-learn.
Left out. Penalties other than L2; solvers for tables that do not fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, check
from ml.week01_regression.descent import Objective, descend
from ml.week01_regression.linear import with_ones


@dataclass(frozen=True)
class Logistic:
    """``intercept`` b, ``weights`` (d,) in log odds per unit, and ``errors`` (d + 1,): standard errors, b's first.

    The errors are those of maximum likelihood: right without a penalty and without balancing, too small with them.
    """

    intercept: float
    weights: Floats
    errors: Floats

    def score(self, x: Floats) -> Floats:
        """The log odds z = b + x w, (n, d) -> (n,)."""
        return self.intercept + x @ self.weights  # (n,)

    def probability(self, x: Floats) -> Floats:
        """P(y = 1 | x), (n, d) -> (n,)."""
        return sigmoid(self.score(x))  # (n,)


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + e^-z), any shape, without overflow: (1 + tanh(z/2)) / 2 is the same function and cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def logistic_loss(a: Floats, y: Floats, penalty: float, row_weights: Floats | None = None) -> Objective:
    """L above for A = [1, X] (n, p) and y (n,) in 0..1; ``row_weights`` (n,), of mean 1, let some rows count more."""
    counts = np.ones(len(y)) if row_weights is None else row_weights  # (n,)
    free = np.r_[0.0, np.full(a.shape[1] - 1, penalty)]  # (p,) the intercept is not penalised

    def objective(theta: Floats) -> tuple[float, Floats]:
        z = a @ theta  # (n,)
        # -log p = log(1 + e^-z) and -log(1 - p) = log(1 + e^z) = z + log(1 + e^-z): one stable call for both
        surprise = np.logaddexp(0, z) - y * z  # (n,)
        loss = (counts @ surprise + 0.5 * free @ theta**2) / len(y)
        gradient = a.T @ (counts * (sigmoid(z) - y)) + free * theta  # (p,)   A'(p - y) + lambda w
        return float(loss), gradient / len(y)

    return objective


def hessian(a: Floats, theta: Floats, penalty: float, row_weights: Floats | None = None) -> Floats:
    """The second derivative of L, (p, p): 1/n A' diag(c p(1-p)) A + lambda/n I without the intercept's entry."""
    p = sigmoid(a @ theta)  # (n,)
    spread = p * (1 - p) if row_weights is None else row_weights * p * (1 - p)  # (n,) sure rows hardly bend the loss
    free = np.r_[0.0, np.full(a.shape[1] - 1, penalty)]  # (p,)
    return (a.T @ (spread[:, None] * a) + np.diag(free)) / len(a)  # (p, p)


def fit_logistic(x: Floats, y: Floats, penalty: float = 0.0, balanced: bool = False, steps: int = 100) -> Logistic:
    """Newton's method from zero, each step halved until the loss falls. x (n, d); y (n,) of 0 and 1, or shares between.

    ``balanced`` (for 0 and 1 only) gives both classes the same total weight, as if equally common. Raises ValueError
    where a line parts the classes and there is no penalty: the likelihood then grows for ever with the weights.
    """
    check(x, y)
    y = y.astype(np.float64)  # (n,)
    if y.min() < 0 or y.max() > 1 or y.min() == y.max():
        raise ValueError("Logistic regression needs targets in 0..1, and both kinds of them.")
    counts = np.where(y > 0.5, 0.5 / y.mean(), 0.5 / (1 - y.mean())) if balanced else None  # (n,)
    a = with_ones(x)  # (n, p)
    objective = logistic_loss(a, y, penalty, counts)
    theta = np.zeros(a.shape[1])  # (p,)
    loss, gradient = objective(theta)
    for _ in range(steps):
        curvature = hessian(a, theta, penalty, counts)  # (p, p)
        if np.linalg.cond(curvature) > 1e14:
            break
        step = np.linalg.solve(curvature, gradient)  # (p,)   H^-1 g
        # A small *gradient* would not do as a sign of the end: between parted classes it vanishes too, while each step
        # goes on adding about one to the log odds. At a minimum the steps vanish.
        if np.abs(a @ step).max() <= 1e-9:
            covariance = np.linalg.inv(curvature) / len(y)  # (p, p) n H is the Fisher information
            return Logistic(float(theta[0]), theta[1:], np.sqrt(np.diag(covariance)))
        size = 1.0
        while objective(theta - size * step)[0] > loss + 1e-15 and size > 1e-8:
            size /= 2  # far from the minimum the parabola can overshoot
        theta = theta - size * step  # (p,)
        loss, gradient = objective(theta)
    raise ValueError("The weights grow without end: the columns are dependent or part the classes; give a penalty.")


def fit_logistic_descent(x: Floats, y: Floats, penalty: float = 0.0, steps: int = 50_000) -> Logistic:
    """The same minimum by plain gradient descent; returns no standard errors (NaN)."""
    check(x, y)
    a = with_ones(x)  # (n, p)
    # p(1-p) <= 1/4, so the curvature is at most lambda_max(A'A) / 4n + lambda / n
    rate = len(y) / (np.linalg.norm(a, 2) ** 2 / 4 + penalty)
    theta = descend(logistic_loss(a, y.astype(np.float64), penalty), np.zeros(a.shape[1]), rate, steps, 1e-10).theta
    return Logistic(float(theta[0]), theta[1:], np.full(len(theta), np.nan))
