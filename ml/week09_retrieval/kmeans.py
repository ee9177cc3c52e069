"""Lloyd's k-means, the part that IVF and PQ share: both replace a vector by the nearest of a few learned points.

Source: Lloyd (1957, published 1982). Starting points are a random sample, as in FAISS; a cluster left empty moves to
the vector that is served worst, as in scikit-learn (FAISS splits a full cluster, which does not help against many equal
vectors). Left out: k-means++ seeding, which helps most when clusters are few and far apart.
"""

from __future__ import annotations

import numpy as np

from ml.week09_retrieval.flat import Ids, Vectors, squared_distances

BLOCK = 8_192  # rows a distance table is computed for at a time: keeps memory flat for any N


def nearest_centroids(vectors: Vectors, centroids: Vectors) -> Ids:
    """The index of each vector's nearest centroid, shape (N,), from (N, D) and (K, D)."""
    return _assign(vectors, centroids)[0]


def kmeans(vectors: Vectors, clusters: int, generator: np.random.Generator, rounds: int = 25) -> Vectors:
    """``clusters`` centroids (K, D) that lower  Σ |x - c(x)|²  in every round; stops early when nothing moves."""
    if len(vectors) < clusters:
        raise ValueError(f"k-means for {clusters} clusters needs as many vectors; there are {len(vectors)}.")
    centroids = vectors[generator.choice(len(vectors), clusters, replace=False)].copy()  # (K, D)
    assigned: Ids | None = None
    for _ in range(rounds):
        nearest, gaps = _assign(vectors, centroids)  # (N,), (N,)
        if assigned is not None and np.array_equal(nearest, assigned):
            break
        assigned = nearest
        centroids = _means(vectors, assigned, gaps, clusters)  # (K, D)
    return centroids


def _assign(vectors: Vectors, centroids: Vectors) -> tuple[Ids, Vectors]:
    """Each vector's nearest centroid and its squared distance to it: (N,) and (N,)."""
    ids = np.empty(len(vectors), dtype=np.int64)  # (N,)
    gaps = np.empty(len(vectors), dtype=np.float32)  # (N,)
    for start in range(0, len(vectors), BLOCK):
        distances = squared_distances(vectors[start : start + BLOCK], centroids)  # (BLOCK, K)
        ids[start : start + BLOCK] = distances.argmin(axis=1)
        gaps[start : start + BLOCK] = distances.min(axis=1)
    return ids, gaps


def _means(vectors: Vectors, assigned: Ids, gaps: Vectors, clusters: int) -> Vectors:
    """c_k = mean of the vectors assigned to k: the point with the least squared distance to them all. Shape (K, D)."""
    counts = np.bincount(assigned, minlength=clusters)  # (K,)
    used, empty = np.flatnonzero(counts), np.flatnonzero(counts == 0)  # (K',), (K - K',)
    order = np.argsort(assigned, kind="stable")  # (N,): the vectors of one cluster lie side by side
    starts = np.concatenate([[0], np.cumsum(counts[used])[:-1]])  # (K',)
    centroids = np.empty((clusters, vectors.shape[1]), dtype=np.float32)  # (K, D)
    centroids[used] = np.add.reduceat(vectors[order], starts, axis=0) / counts[used, None]  # (K', D)
    centroids[empty] = vectors[np.argsort(-gaps)[: len(empty)]]  # (K - K', D)
    return centroids
