"""GloVe: fit the logarithm of the counts themselves, by weighted least squares.

Pennington, Socher and Manning, "GloVe: Global Vectors for Word Representation" (2014). word2vec walks through the text
and meets a frequent pair thousands of times; GloVe counts first (``cooccurrence.count`` with ``harmonic=True``) and
then visits each pair that was ever seen once an epoch:

    J = sum_{ij: X_ij > 0} f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2,     f(x) = min(1, (x / x_max)^0.75)

The biases take up how frequent each word is, so the dot product is left with what the pair has to say: close to PMI
again. f keeps "of the" from ruling the sum, and pairs seen once, which may be chance, from counting in full. The words'
final vectors are w + c: the matrix is symmetric, so the two are two estimates of one thing.

AdaGrad (Duchi, Hazan and Singer 2011) gives each number its own step, rate / sqrt(sum of its squared gradients): rare
words, which seldom get a gradient, take large steps when they do.

Left out: the original's asynchronous threads, and its sum of squares that is updated after the step (ours before).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ml.week03_embeddings.onehot import sum_rows
from ml.week03_embeddings.skipgram import Track


@dataclass(frozen=True)
class GloveSettings:
    """``limit`` is x_max (100 in the paper, for billions of words: less for less), ``power`` its exponent."""

    dimensions: int = 50
    epochs: int = 25
    rate: float = 0.05
    limit: float = 10.0
    power: float = 0.75
    batch: int = 2048

    def __post_init__(self) -> None:
        if min(self.dimensions, self.epochs, self.batch) < 1 or self.limit <= 0:
            raise ValueError("dimensions, epochs and batch must be 1 or more, and limit above 0.")


@dataclass
class Parameters:
    """Words w (V, D) with biases b (V,); contexts c (V, D) with biases d (V,)."""

    w: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray

    @classmethod
    def random(cls, size: int, dimensions: int, rng: np.random.Generator) -> Parameters:
        """Uniform in +-0.5/D, as in the authors' code."""
        w, c = ((rng.random((size, dimensions)) - 0.5) / dimensions for _ in range(2))  # (V, D) each
        b, d = ((rng.random(size) - 0.5) / dimensions for _ in range(2))  # (V,) each
        return cls(w, b, c, d)

    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """w, b, c, d."""
        return self.w, self.b, self.c, self.d


def weight(x: np.ndarray, limit: float, power: float) -> np.ndarray:
    """f(x) = min(1, (x / limit)^power), the trust in a count; any shape."""
    return np.minimum(1.0, (x / limit) ** power)


def loss_and_gradients(
    p: Parameters, i: np.ndarray, j: np.ndarray, x: np.ndarray, settings: GloveSettings
) -> tuple[float, Parameters]:
    """J over the cells (i, j) with counts x, each (B,), and its gradient in the shape of the parameters."""
    size = len(p.b)
    error = np.einsum("bd,bd->b", p.w[i], p.c[j]) + p.b[i] + p.d[j] - np.log(x)  # (B,)
    f = weight(x, settings.limit, settings.power)  # (B,)
    g = 2.0 * f * error  # (B,), dJ/d(prediction)
    dw = sum_rows(i, g[:, None] * p.c[j], size)  # (V, D), dJ/dw_i = sum_j g_ij c_j
    dc = sum_rows(j, g[:, None] * p.w[i], size)  # (V, D)
    db, dd = (np.bincount(rows, weights=g, minlength=size) for rows in (i, j))  # (V,), (V,)
    return float((f * error**2).sum()), Parameters(dw, db, dc, dd)


def adagrad(p: Parameters, gradient: Parameters, squares: Parameters, rate: float) -> None:
    """q <- q - rate g / sqrt(sum of g^2 up to now), in place on ``p`` and ``squares``, number by number."""
    for value, g, total in zip(p.all(), gradient.all(), squares.all(), strict=True):
        total += g**2
        value -= rate * g / np.sqrt(total)


def train(
    counts: sparse.csr_matrix, settings: GloveSettings, seed: int = 0, track: Track = iter
) -> tuple[Parameters, list[float]]:
    """Fit the cells of X (V, V) above zero; the parameters and the mean loss a cell of each epoch."""
    rng = np.random.default_rng(seed)
    cells = counts.tocoo()
    p = Parameters.random(counts.shape[0], settings.dimensions, rng)
    squares = Parameters(*(np.ones_like(value) for value in p.all()))  # 1 and not 0: the first step is no leap
    losses = []
    for _ in track(range(settings.epochs)):
        order = rng.permutation(cells.nnz)  # (nnz,)
        total = 0.0
        for start in range(0, cells.nnz, settings.batch):
            part = order[start : start + settings.batch]  # (B,)
            loss, gradient = loss_and_gradients(p, cells.row[part], cells.col[part], cells.data[part], settings)
            adagrad(p, gradient, squares, settings.rate)
            total += loss
        losses.append(total / cells.nnz)
    return p, losses


def word_vectors(p: Parameters) -> np.ndarray:
    """w + c (V, D)."""
    return p.w + p.c
