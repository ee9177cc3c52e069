"""Count the company, weigh it, compress it: co-occurrence counts, PPMI and a truncated SVD.

The line of Church and Hanks (1990, PMI), Deerwester et al. (1990, LSA) and Bullinaria and Levy (2007, PPMI). No
training loop: three steps of linear algebra give word vectors that Levy, Goldberg and Dagan (2015) found level with
word2vec once both use the same tricks (context smoothing and weighted singular values are two of those, and are here).

    PMI(w, c) = log [ P(w, c) / (P(w) P(c)) ],    PPMI = max(0, PMI)

PMI asks how much more often two words meet than if they did not care for each other. Below zero it is noise in a small
corpus ("these two did not meet in our 60,000 words"), so it is cut off there, which also keeps the matrix sparse.

Left out: term-document matrices and tf-idf, which describe documents (week 9).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ml.week03_embeddings.vocabulary import Encoded
from ml.week03_embeddings.windows import fixed_pairs


def count(text: Encoded, size: int, window: int = 5, harmonic: bool = False) -> sparse.csr_matrix:
    """X (V, V), symmetric: how often word j stands within ``window`` words of word i.

    ``harmonic`` counts a neighbour at distance d as 1/d, as GloVe does; otherwise each counts 1.
    """
    left, right, distance = fixed_pairs(text, window)  # (P,) each
    weight = 1.0 / distance if harmonic else np.ones(len(distance))  # (P,)
    one_way = sparse.coo_matrix((weight, (left, right)), shape=(size, size)).tocsr()  # (V, V), equal places are added
    return (one_way + one_way.T).tocsr()  # (V, V)


def ppmi(counts: sparse.csr_matrix, smoothing: float = 0.75, shift: float = 0.0) -> sparse.csr_matrix:
    """max(0, PMI - shift) of a count matrix (V, V), with context shares proportional to count^smoothing.

    PMI favours rare words: a context seen once has a tiny P(c) and looks significant. A power below 1 raises the P(c)
    of rare contexts. ``shift`` = log k gives, cut at zero, the matrix that skip-gram with k negatives factorises (Levy
    and Goldberg 2014).
    """
    cells = counts.tocoo()
    total = cells.data.sum()
    word = np.asarray(counts.sum(axis=1)).ravel() / total  # (V,), P(w)
    context = np.asarray(counts.sum(axis=0)).ravel() ** smoothing  # (V,)
    context = context / context.sum()  # (V,), P_smoothing(c)
    pmi = np.log(cells.data / total / (word[cells.row] * context[cells.col]))  # (nnz,)
    positive = pmi > shift  # (nnz,)
    kept = (pmi[positive] - shift, (cells.row[positive], cells.col[positive]))
    return sparse.coo_matrix(kept, shape=counts.shape).tocsr()  # (V, V)


def truncated_svd(
    matrix: sparse.csr_matrix | np.ndarray, rank: int, rng: np.random.Generator, rounds: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ``rank`` largest singular triples of A (m, n): U (m, r), s (r,) falling, V^T (r, n), with A ~ U diag(s) V^T.

    By a random range finder (Halko, Martinsson and Tropp 2011): A times a few random vectors spans nearly the space of
    the largest singular vectors; multiplying by A A^T again sharpens it; the rest is a small exact SVD.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"A matrix of shape {matrix.shape} has no {rank} singular values.")
    probes = min(rank + 20, min(matrix.shape))  # some more than asked for: they carry off the error
    basis, _ = np.linalg.qr(matrix @ rng.normal(size=(matrix.shape[1], probes)))  # (m, p), orthonormal
    for _ in range(rounds):
        basis, _ = np.linalg.qr(matrix.T @ basis)  # (n, p)
        basis, _ = np.linalg.qr(matrix @ basis)  # (m, p), now nearer the leading singular vectors
    small = (matrix.T @ basis).T  # (p, n) = basis^T A
    u, s, vt = np.linalg.svd(small, full_matrices=False)  # (p, p), (p,), (p, n)
    return (basis @ u)[:, :rank], s[:rank], vt[:rank]  # (m, r), (r,), (r, n)


def svd_vectors(
    weighted: sparse.csr_matrix, dimensions: int, rng: np.random.Generator, power: float = 0.5
) -> np.ndarray:
    """Word vectors U diag(s)^power -> (V, dimensions).

    Power 1 keeps the dot products of the matrix's rows; 0.5 and 0 give the leading directions, which are mostly word
    frequency, less say, and do better on similarity (Levy, Goldberg and Dagan 2015).
    """
    u, s, _ = truncated_svd(weighted, dimensions, rng)  # (V, D), (D,)
    return u * s**power  # (V, D)
