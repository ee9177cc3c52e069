"""The exact index: compare the query with every vector. Slow for millions, fast enough for most collections.

Every other index of this week is measured against this one, and all share its shape: ``add`` vectors, then
``search(queries, k)`` gives squared distances and ids, nearest first. On unit vectors the order is the cosine's:

    |q - v|² = |q|² - 2 q·v + |v|² = 2 - 2 cos(q, v)

so an index for distances serves similarity too. What is left out: deletion, filters by attribute, and saving to disk.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def squared_norms(vectors: Vectors) -> Vectors:
    """|v|² of each row: (N, D) -> (N,)."""
    norms: Vectors = np.einsum("nd,nd->n", vectors, vectors)  # (N,)
    return norms


def squared_distances(queries: Vectors, vectors: Vectors, norms: Vectors | None = None) -> Vectors:
    """All |q - v|², shape (Q, N), from queries (Q, D) and vectors (N, D); ``norms`` (N,) where they are known.

    One matrix product instead of Q·N subtractions: that is what makes brute force fast. The price is rounding: two
    nearly equal vectors can come out a little below zero, hence the maximum.
    """
    inner = queries @ vectors.T  # (Q, N)
    norms = squared_norms(vectors) if norms is None else norms  # (N,)
    return np.maximum(squared_norms(queries)[:, None] - 2 * inner + norms, 0)  # (Q, 1) - (Q, N) + (N,) -> (Q, N)


def smallest(distances: Vectors, k: int, ids: Ids | None = None) -> tuple[Vectors, Ids]:
    """The ``k`` smallest of each row, in order, with their ids: both of shape (Q, k).

    A full sort would cost N log N a query; ``argpartition`` finds the k smallest in N steps and only those are sorted.
    Rows with fewer than k entries end in distance infinity and id -1, as FAISS does it.
    """
    count = distances.shape[1]
    reach = min(k, count)
    places = np.argpartition(distances, reach - 1, axis=1)[:, :reach] if reach else np.empty((len(distances), 0), int)
    order = np.argsort(np.take_along_axis(distances, places, axis=1), axis=1, kind="stable")  # (Q, reach)
    places = np.take_along_axis(places, order, axis=1)  # (Q, reach)
    best = np.full((len(distances), k), np.inf, dtype=np.float32)  # (Q, k)
    found = np.full((len(distances), k), -1, dtype=np.int64)  # (Q, k)
    best[:, :reach] = np.take_along_axis(distances, places, axis=1)
    found[:, :reach] = places if ids is None else ids[places]
    return best, found


def as_vectors(vectors: npt.ArrayLike, dimensions: int) -> Vectors:
    """``vectors`` as a contiguous float32 table (N, D); ValueError where it is none of that width, or not finite."""
    table = np.ascontiguousarray(vectors, dtype=np.float32)
    if table.ndim != 2 or table.shape[1] != dimensions:
        raise ValueError(f"expected vectors of shape (n, {dimensions}), got {table.shape}.")
    if not np.isfinite(table).all():
        raise ValueError("vectors must be finite; one of them holds NaN or infinity.")
    return table


class FlatIndex:
    """Exact search. ``compared`` counts the distances computed so far, the honest measure of an index's work."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.vectors: Vectors = np.empty((0, dimensions), dtype=np.float32)
        self.norms: Vectors = np.empty(0, dtype=np.float32)  # (N,): kept, for they would cost a pass per query
        self.compared = 0

    def add(self, vectors: npt.ArrayLike) -> None:
        """Store vectors (N, D); their ids count on from those already here."""
        self.vectors = np.concatenate([self.vectors, as_vectors(vectors, self.dimensions)])  # (N, D)
        self.norms = squared_norms(self.vectors)  # (N,)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Vectors, Ids]:
        """Squared distances and ids, each (Q, k), nearest first."""
        table = as_vectors(queries, self.dimensions)  # (Q, D)
        self.compared += len(table) * len(self.vectors)
        return smallest(squared_distances(table, self.vectors, self.norms), k)
