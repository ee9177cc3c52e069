"""From fifty dimensions to two: PCA, written out, for pictures of an embedding space.

Principal component analysis (Pearson 1901; Hotelling 1933) by the singular value decomposition of the centred data,
X - mean = U diag(s) V^T: the rows of V^T are the directions of largest variance, s^2 / (n - 1) the variance of each.
It is linear, so distances in the picture are honest shadows: never longer than the true ones, often much shorter.
t-SNE (van der Maaten and Hinton 2008; scikit-learn's, in ``figures.py``) keeps neighbours instead and gives up on
distance: gaps between its clusters and their sizes mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PCA:
    """``mean`` (D,), ``directions`` (k, D) of length 1, ``share`` (k,) of the whole variance along each."""

    mean: np.ndarray
    directions: np.ndarray
    share: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray, dimensions: int = 2) -> PCA:
        """The ``dimensions`` directions of largest variance of rows (n, D); ValueError where there are not so many."""
        if not 1 <= dimensions <= min(rows.shape):
            raise ValueError(f"{len(rows)} rows of {rows.shape[1]} numbers have no {dimensions} principal components.")
        mean = rows.mean(axis=0)  # (D,)
        _, s, vt = np.linalg.svd(rows - mean, full_matrices=False)  # (min(n, D),), (min(n, D), D)
        largest = np.abs(vt).argmax(axis=1)  # (min(n, D),)
        vt = vt * np.sign(vt[np.arange(len(vt)), largest])[:, None]  # the sign is free: largest entry > 0
        return cls(mean, vt[:dimensions], (s**2 / (s**2).sum())[:dimensions])

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates (n, k) of rows (n, D)."""
        return (rows - self.mean) @ self.directions.T  # (n, D) @ (D, k) -> (n, k)
