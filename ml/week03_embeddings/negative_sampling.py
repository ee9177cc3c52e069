"""Negative sampling: learn a word by telling its true neighbours from random ones.

A softmax over the vocabulary, P(o | c) = exp(u_o . v_c) / sum_w exp(u_w . v_c), costs V dot products a pair. Mikolov
et al. (2013) replace it by K + 1 yes-or-no questions: is this a real pair (label 1), or is the second word noise (0)?

    L = - log sigma(u_o . v_c) - sum_{k=1..K} log sigma(-u_k . v_c),      k ~ P_n(w) = count(w)^0.75 / Z

With the score s_j = u_j . v_c and the label y_j, both terms have the one derivative of logistic regression (week 1):

    dL/ds_j = sigma(s_j) - y_j,     dL/dv_c = sum_j (sigma(s_j) - y_j) u_j,     dL/du_j = (sigma(s_j) - y_j) v_c

Each word has two vectors: v when it is the centre, u when it is company. With one only, a word would have to be its own
likely neighbour, since v . v is never negative.

Left out: noise-contrastive estimation's correction, which would make this a probability model. We want vectors only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How skip-gram and CBOW train; the names in brackets are gensim's.

    ``dimensions`` D (vector_size), ``window`` W, ``negatives`` K (negative), ``epochs``, ``rate`` at the start, falling
    to ``last_rate`` (alpha, min_alpha), ``sample`` for sub-sampling, ``batch``: cases whose gradients are added up
    before a step (gensim steps after each).
    """

    dimensions: int = 50
    window: int = 5
    negatives: int = 5
    epochs: int = 10
    rate: float = 0.025
    last_rate: float = 0.0001
    sample: float = 1e-3
    batch: int = 512

    def __post_init__(self) -> None:
        for name in ("dimensions", "window", "negatives", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; it is {getattr(self, name)}.")


@dataclass
class Trained:
    """``vectors`` v (V, D): the embeddings; ``contexts`` u (V, D): the other side; ``losses``: means, one an epoch."""

    vectors: np.ndarray
    contexts: np.ndarray
    losses: list[float]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by tanh, which does not overflow; any shape."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def loss_and_gradients(
    v: np.ndarray, u: np.ndarray, used: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss summed over a batch, dL/dv (B, D) and dL/du (B, K + 1, D).

    v (B, D): the predicting vectors. u (B, K + 1, D): first the true word's vector, then K of noise. ``used``
    (B, K + 1) is 0 where a term does not count: noise that happens to be the true word.
    """
    score = np.einsum("bd,bkd->bk", v, u)  # (B, K + 1), s_j = u_j . v_c
    label = np.zeros_like(score)  # (B, K + 1)
    label[:, 0] = 1.0
    used = np.ones_like(score) if used is None else used  # (B, K + 1)
    sign = 2 * label - 1  # (B, K + 1), +1 for the true word
    loss = np.logaddexp(0.0, -sign * score)  # (B, K + 1), -log sigma(x) = log(1 + exp(-x))
    error = (sigmoid(score) - label) * used  # (B, K + 1), dL/ds
    dv = np.einsum("bk,bkd->bd", error, u)  # (B, D)
    du = error[:, :, None] * v[:, None, :]  # (B, K + 1, D)
    return float((loss * used).sum()), dv, du


def initial_vectors(size: int, dimensions: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """word2vec's start, two of (V, D): v uniform in +-0.5/D, u zero. All scores are 0, all answers "one half"."""
    v = (rng.random((size, dimensions), dtype=np.float32) - 0.5) / dimensions  # (V, D)
    return v.astype(np.float32), np.zeros((size, dimensions), dtype=np.float32)


def with_noise(true: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (B, K + 1), the true word (B,) before its noise (B, K), and ``used`` (B, K + 1) beside them."""
    targets = np.concatenate([true[:, None], noise], axis=1)  # (B, K + 1)
    used = np.ones(targets.shape, dtype=np.float32)  # (B, K + 1)
    used[:, 1:] = noise != true[:, None]
    return targets, used


def rate_at(done: float, settings: Settings) -> float:
    """The learning rate when the share ``done`` (0..1) of the training has passed: a straight line down."""
    return settings.rate - (settings.rate - settings.last_rate) * min(1.0, done)
