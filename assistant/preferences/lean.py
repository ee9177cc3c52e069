"""Which way questions lean in the space of vectors: a passage far from a question's words that people chose for it.

An embedder knows which texts say alike, not what the people here mean by what they ask. ``map`` turns that of a
question into a direction: passages that lie in it gain. It is the bilinear form q·Mp of a question q and a passage p,
fitted as logistic regression on differences of passages, with a normal prior round no effect at all: few votes leave it
at 0. Pure numpy; the fit is L-BFGS's, which needs products of thin matrices and no Hessian (d⁴ numbers).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

PRIOR = 0.1  # the precision of each number: .01 to .3 gain about alike (see benchmarks.md)
STEPS = 40


@dataclass(frozen=True)
class Lean:
    """``map``: shape (d, d), in steps of ``step``; d = 0: nothing was learned."""

    map: npt.NDArray[np.int8]
    step: float

    @classmethod
    def none(cls) -> Lean:
        return cls(np.zeros((0, 0), np.int8), 0.0)

    @classmethod
    def rounded(cls, matrix: Vectors) -> Lean:
        most = float(np.abs(matrix).max(initial=0.0))
        step = most / 127 if most else 1.0
        return cls(np.rint(matrix / step).astype(np.int8), step)

    def moves(self, question: Vectors, passages: Vectors) -> Floats:
        """Log-odds for each passage, shape (passages,). ``passages``: shape (passages, d)."""
        if not len(self.map):
            return np.zeros(len(passages))
        return (passages @ (question @ self._whole)).astype(np.float64)

    @cached_property
    def _whole(self) -> Vectors:
        return self.map.astype(np.float32) * np.float32(self.step)

    def document(self) -> dict[str, Any]:
        data = base64.b64encode(self.map.tobytes()).decode()
        return {"dimensions": len(self.map), "map": data, "step": self.step}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Lean:
        """What ``document`` gave; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        size, step = int(document["dimensions"]), float(document["step"])
        if not np.isfinite(step):
            raise ValueError("the step of its map is not a number")
        data = base64.b64decode(document["map"], validate=True)
        return cls(np.frombuffer(data, np.int8).reshape(size, size), step)


@dataclass(frozen=True, slots=True)
class Differences:
    """What people preferred. ``questions``: shape (questions, d). ``asked``: a row of it for each comparison, in
    order, so that those of one question stand together. ``between``: better less worse, shape (comparisons, d).
    ``known``: log-odds that better wins, from elsewhere, shape (comparisons,); ``weights``: what each counts."""

    questions: Vectors
    asked: npt.NDArray[np.int64]
    between: Vectors
    known: Floats
    weights: Floats


def fitted(found: Differences, prior: float = PRIOR, steps: int = STEPS) -> Lean:
    """The map that makes the comparisons most probable under the prior."""
    from scipy.optimize import minimize  # a quarter of a second, and only what learns needs it

    size = found.questions.shape[1]
    start = np.zeros(size * size)
    best = minimize(objective, start, (found, prior), method="L-BFGS-B", jac=True, options={"maxiter": steps})
    return Lean.rounded(best.x.reshape(size, size).astype(np.float32))


def objective(flat: Floats, found: Differences, prior: float) -> tuple[float, Floats]:
    """Negative log-posterior of the map, as a flat row of d² numbers, and its gradient, as flat.

    L = sum_i w_i log(1 + exp(-m_i)) + prior/2 |M|², where m_i = known_i + q_i · M (better_i - worse_i).
    """
    size = found.questions.shape[1]
    matrix = flat.reshape(size, size).astype(found.questions.dtype)
    leaning = found.questions @ matrix
    margin = found.known + np.einsum("nd,nd->n", leaning[found.asked], found.between)
    loss = float(found.weights @ np.logaddexp(0.0, -margin)) + prior / 2 * float(flat @ flat)
    surprise = found.weights * np.exp(-np.logaddexp(0.0, margin))
    pull = surprise[:, None].astype(matrix.dtype) * found.between
    starts = np.flatnonzero(np.diff(found.asked, prepend=-1))
    sums = np.zeros_like(leaning)
    sums[found.asked[starts]] = np.add.reduceat(pull, starts, axis=0)
    gradient = (-(found.questions.T @ sums)).astype(np.float64).ravel() + prior * flat
    return loss, gradient
