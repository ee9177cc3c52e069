"""Skip-gram with negative sampling: from a word, guess its neighbours. word2vec's better-known half.

Mikolov et al. 2013 (arXiv 1301.3781 and 1310.4546). Each (centre, neighbour) pair of the text is one training case for
``negative_sampling.loss_and_gradients``. The original takes a step per pair, in C; NumPy wants thousands of numbers at
a time, so we add up the gradients of ``batch`` pairs and step once: the same sum, each term computed from vectors that
are at most a batch old. Too large a batch breaks that: see exercise 1.

Levy and Goldberg (2014) showed what is learned: at the optimum v_w . u_c = PMI(w, c) - log K, so this is a
factorisation of the matrix in ``cooccurrence.py``, weighted by how often a pair occurs. A test does it to the digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ml.week03_embeddings.negative_sampling import (
    Settings,
    Trained,
    initial_vectors,
    loss_and_gradients,
    rate_at,
    with_noise,
)
from ml.week03_embeddings.onehot import sum_rows
from ml.week03_embeddings.vocabulary import Encoded, NoiseSampler, Vocabulary
from ml.week03_embeddings.windows import skip_pairs

Track = Callable[[Sequence[int]], Iterable[int]]


def step(v: np.ndarray, u: np.ndarray, centre: np.ndarray, targets: np.ndarray, used: np.ndarray, rate: float) -> float:
    """One step of gradient descent, in place; returns the batch's summed loss.

    v, u (V, D); centre (B,); targets and used (B, K + 1).
    """
    size, dimensions = v.shape
    loss, dv, du = loss_and_gradients(v[centre], u[targets], used)  # (), (B, D), (B, K + 1, D)
    v -= rate * sum_rows(centre, dv, size)  # (V, D), v <- v - rate dL/dv
    u -= rate * sum_rows(targets.ravel(), du.reshape(-1, dimensions), size)  # (V, D), u <- u - rate dL/du
    return loss


def train(text: Encoded, vocabulary: Vocabulary, settings: Settings, seed: int = 0, track: Track = iter) -> Trained:
    """Word vectors from an encoded corpus; the same seed gives the same vectors; ``track`` may wrap the epochs."""
    rng = np.random.default_rng(seed)
    v, u = initial_vectors(len(vocabulary), settings.dimensions, rng)  # (V, D) each
    keep, sampler = vocabulary.keep_probability(settings.sample), NoiseSampler(vocabulary.noise())
    losses = []
    for epoch in track(range(settings.epochs)):
        # The text is thinned out and the windows drawn anew each epoch, so no two see quite the same pairs.
        centre, context = skip_pairs(text.subsample(keep, rng), settings.window, rng)  # (P,), (P,)
        total = 0.0
        for start in range(0, len(centre), settings.batch):
            true = context[start : start + settings.batch]  # (B,)
            targets, used = with_noise(true, sampler.draw((len(true), settings.negatives), rng))  # (B, K + 1) each
            rate = rate_at((epoch + start / len(centre)) / settings.epochs, settings)
            total += step(v, u, centre[start : start + settings.batch], targets, used, rate)
        losses.append(total / max(1, len(centre)))
    return Trained(v, u, losses)
