"""CBOW, the continuous bag of words: from the neighbours, guess the word. word2vec's faster half.

Mikolov et al. 2013 (arXiv 1301.3781). The neighbours' vectors are averaged into one h, and h answers the same
questions as skip-gram's v_c. One case a running word where skip-gram has one a neighbour, hence faster; but a rare word
shares each of its cases with its neighbours, hence blurrier.

    h = (1 / n) sum_i v_{c_i},     L = negative sampling of (h, centre word),     dL/dv_{c_i} = (1 / n) dL/dh

The 1/n of the gradient is missing from word2vec's C code and from gensim with ``cbow_mean=1``: each neighbour takes a
step n times as long (Irsoy, Benton and Stratos 2021). ``divide=False`` does as they do. Exercise 2 measures it.
"""

from __future__ import annotations

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
from ml.week03_embeddings.skipgram import Track
from ml.week03_embeddings.vocabulary import Encoded, NoiseSampler, Vocabulary
from ml.week03_embeddings.windows import bags


def mean_of(v: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h (B, D), the mean of the neighbours' vectors, and their number n (B, 1); context (B, 2W), -1 for none."""
    present = context >= 0  # (B, 2W)
    n = present.sum(axis=1, keepdims=True).astype(v.dtype)  # (B, 1)
    gathered = v[np.where(present, context, 0)] * present[:, :, None]  # (B, 2W, D), zero where there is no neighbour
    return gathered.sum(axis=1) / n, n  # (B, D), (B, 1)


def step(
    v: np.ndarray,
    u: np.ndarray,
    context: np.ndarray,
    targets: np.ndarray,
    used: np.ndarray,
    rate: float,
    divide: bool = True,
) -> float:
    """One step in place on v, u (V, D); context (B, 2W), targets and used (B, K + 1); the batch's summed loss."""
    size, dimensions = v.shape
    h, n = mean_of(v, context)  # (B, D), (B, 1)
    loss, dh, du = loss_and_gradients(h, u[targets], used)  # (), (B, D), (B, K + 1, D)
    share = dh / n if divide else dh  # (B, D), dL/dv_{c_i}, the same for every neighbour
    row, place = np.nonzero(context >= 0)  # (P,), (P,)
    v -= rate * sum_rows(context[row, place], share[row], size)  # (V, D)
    u -= rate * sum_rows(targets.ravel(), du.reshape(-1, dimensions), size)  # (V, D)
    return loss


def train(
    text: Encoded,
    vocabulary: Vocabulary,
    settings: Settings,
    seed: int = 0,
    track: Track = iter,
    divide: bool = True,
) -> Trained:
    """Word vectors from an encoded corpus; the same seed gives the same vectors."""
    rng = np.random.default_rng(seed)
    v, u = initial_vectors(len(vocabulary), settings.dimensions, rng)  # (V, D) each
    keep, sampler = vocabulary.keep_probability(settings.sample), NoiseSampler(vocabulary.noise())
    losses = []
    for epoch in track(range(settings.epochs)):
        centre, context = bags(text.subsample(keep, rng), settings.window, rng)  # (M,), (M, 2W)
        total = 0.0
        for start in range(0, len(centre), settings.batch):
            part = slice(start, start + settings.batch)
            true = centre[part]  # (B,)
            targets, used = with_noise(true, sampler.draw((len(true), settings.negatives), rng))  # (B, K + 1) each
            rate = rate_at((epoch + start / len(centre)) / settings.epochs, settings)
            total += step(v, u, context[part], targets, used, rate, divide)
        losses.append(total / max(1, len(centre)))
    return Trained(v, u, losses)
