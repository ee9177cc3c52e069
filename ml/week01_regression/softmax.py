"""Softmax regression: logistic regression for K classes, and the last layer of every language model.

Idea.     Each class has its own linear score z_k; p_k = e^{z_k} / sum_j e^{z_j}. The loss is the surprise at the true
          class, L = -1/n sum_i log p_{i, y_i} + lambda/(2n) |W|^2. Its gradient by the scores is again *probability
          minus truth*, P - Y with Y one-hot. A language model's head does this with K = its vocabulary.
Redundant. Adding the same number to all scores changes no probability. So the intercepts have one direction in which
          the loss is flat. The penalty settles it for the weights; the intercepts we make add up to zero.
Source.   Bridle 1990; CS229 notes, section 2.3 (multi-class classification).
Left out. Sampled or hierarchical softmax for very many classes (week 3 uses negative sampling instead).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, Integers, check
from ml.week01_regression.linear import with_ones


@dataclass(frozen=True)
class Softmax:
    """``intercepts`` (K,) and ``weights`` (d, K)."""

    intercepts: Floats
    weights: Floats

    def probability(self, x: Floats) -> Floats:
        """P(class | x), (n, d) -> (n, K); rows add up to one."""
        return np.exp(log_softmax(self.intercepts + x @ self.weights))  # (n, K)

    def predict(self, x: Floats) -> Integers:
        """The likeliest class, (n, d) -> (n,)."""
        return (self.intercepts + x @ self.weights).argmax(axis=1)  # (n,)


def log_softmax(z: Floats) -> Floats:
    """log p_k = z_k - log sum_j e^{z_j}, (n, K) -> (n, K).

    The largest score is taken off first, which changes nothing on paper and keeps e^z from overflowing.
    """
    z = z - z.max(axis=1, keepdims=True)  # (n, K)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))  # (n, K)


def softmax_loss(a: Floats, y: Integers, theta: Floats, penalty: float) -> tuple[float, Floats]:
    """L and its gradient (p, K) at theta (p, K), intercepts in row 0; A = [1, X] (n, p), y (n,) classes."""
    n = len(y)
    log_p = log_softmax(a @ theta)  # (n, K)
    free = np.r_[0.0, np.full(a.shape[1] - 1, penalty)][:, None]  # (p, 1)
    loss = -log_p[np.arange(n), y].sum() + 0.5 * (free * theta**2).sum()
    error = np.exp(log_p)  # (n, K)
    error[np.arange(n), y] -= 1  # (n, K)   P - Y
    return float(loss) / n, (a.T @ error + free * theta) / n  # (p, K)


def softmax_hessian(a: Floats, theta: Floats, penalty: float) -> Floats:
    """(K p, K p) in blocks: H_kl = 1/n A' diag(p_k (delta_kl - p_l)) A, and the penalty on the diagonal."""
    n, p = a.shape
    prob = np.exp(log_softmax(a @ theta))  # (n, K)
    classes = prob.shape[1]
    h = np.zeros((classes, p, classes, p))
    for k in range(classes):
        for other in range(k, classes):
            spread = prob[:, k] * ((k == other) - prob[:, other])  # (n,)
            h[k, :, other, :] = h[other, :, k, :] = a.T @ (spread[:, None] * a)  # (p, p), symmetric
    h = h.reshape(classes * p, classes * p)
    free = np.tile(np.r_[0.0, np.full(p - 1, penalty)], classes)  # (K p,)
    # the flat direction, all intercepts alike: give it a curvature of its own, so that the system has one solution.
    # The gradient has no part in it, so the solution has none either, and the intercepts go on adding up to zero.
    flat = np.tile(np.r_[1.0, np.zeros(p - 1)], classes)  # (K p,)
    return (h + np.diag(free)) / n + np.outer(flat, flat) / classes  # (K p, K p)


def fit_softmax(x: Floats, y: Integers, penalty: float, steps: int = 50) -> Softmax:
    """Newton's method, as in ``logistic``. x (n, d); y (n,) classes 0..K-1, all of them there; ``penalty`` above 0.

    A step solves a system of K(d + 1) unknowns: fine for 10 x 65, hopeless for a vocabulary. Raises ValueError.
    """
    check(x, y)
    if not penalty > 0:
        raise ValueError(
            f"Softmax needs a penalty above zero, not {penalty:g}: without one its weights have no unique best."
        )
    classes = int(y.max()) + 1
    if classes < 2 or not np.array_equal(np.unique(y), np.arange(classes)):
        raise ValueError("Softmax needs two or more classes, numbered from 0 without a gap.")
    a = with_ones(x)  # (n, p)
    theta = np.zeros((a.shape[1], classes))  # (p, K)
    loss, gradient = softmax_loss(a, y, theta, penalty)
    for _ in range(steps):
        if np.abs(gradient).max() <= 1e-11:
            return Softmax(theta[0], theta[1:])
        step = np.linalg.solve(softmax_hessian(a, theta, penalty), gradient.T.ravel())  # (K p,)
        step = step.reshape(classes, -1).T  # (p, K)
        size = 1.0
        while softmax_loss(a, y, theta - size * step, penalty)[0] > loss + 1e-15 and size > 1e-8:
            size /= 2
        theta = theta - size * step  # (p, K)
        loss, gradient = softmax_loss(a, y, theta, penalty)
    raise ValueError(f"Newton's method has not converged after {steps} steps; raise the penalty or standardise x.")
