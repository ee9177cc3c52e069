"""k-means: groups without labels, the smallest example of unsupervised learning.

Idea.     Put k centres; give each point to its nearest centre; move each centre to the mean of its points; repeat. Both
          steps can only lower the *inertia*, the sum of squared distances to the nearest centre, so it ends, though
          perhaps not at the best place. k-means++ draws the first centres far apart: each next one with probability
          proportional to its squared distance from those before. Its expected inertia is at most 8 (ln k + 2) times
          the best one.
Why here. An IVF index (week 9) is k-means over passages: search only the cells near the question.
Source.   Lloyd 1957/1982; Arthur & Vassilvitskii 2007 (k-means++); Hubert & Arabie 1985 (adjusted Rand index).
Left out. Choosing k (look at the inertia's elbow), mini-batches, clusters that are not round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, Integers, check


@dataclass(frozen=True)
class Clusters:
    """``centres`` (k, d), the cell (n,) of each row, and the ``inertias`` (rounds,), falling."""

    centres: Floats
    cells: Integers
    inertias: Floats

    @property
    def inertia(self) -> float:
        return float(self.inertias[-1])


def squared_distances(x: Floats, centres: Floats) -> Floats:
    """|x - c|^2 = |x|^2 - 2 x'c + |c|^2, (n, d) and (k, d) -> (n, k): one matrix product instead of n k differences."""
    squares = (x**2).sum(axis=1)[:, None] - 2 * x @ centres.T + (centres**2).sum(axis=1)  # (n, 1) + (n, k) + (k,)
    return np.maximum(squares, 0)  # (n, k) rounding may leave -1e-13


def plus_plus(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k rows of x (n, d) as first centres (k, d), drawn far apart. Raises ValueError."""
    check(x)
    if not 1 <= k <= len(x):
        raise ValueError(f"{len(x)} points can have 1 to {len(x)} clusters, not {k}.")
    centres = [x[rng.integers(len(x))]]  # the first: any point
    nearest = squared_distances(x, centres[0][None])[:, 0]  # (n,) to the nearest centre so far
    while len(centres) < k:
        total = nearest.sum()
        # all points lie on a centre: no more places differ, so any row will do
        row = rng.choice(len(x), p=nearest / total) if total > 0 else rng.integers(len(x))
        centres.append(x[row])
        nearest = np.minimum(nearest, squared_distances(x, x[row][None])[:, 0])  # (n,)
    return np.array(centres)  # (k, d)


def at_random(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k different rows, all equally likely: what k-means++ improves on."""
    return x[rng.choice(len(x), k, replace=False)]  # (k, d)


def k_means(x: Floats, start: Floats, rounds: int = 300) -> Clusters:
    """Lloyd's algorithm from the centres ``start`` (k, d), until no point changes its cell."""
    check(x)
    centres = start.copy()  # (k, d)
    cells = np.full(len(x), -1)  # (n,)
    inertias = []
    for _ in range(rounds):
        distances = squared_distances(x, centres)  # (n, k)
        updated = distances.argmin(axis=1)  # (n,)
        inertias.append(distances[np.arange(len(x)), updated].sum())
        if (updated == cells).all():
            break
        cells = updated
        sizes = np.bincount(cells, minlength=len(centres))  # (k,)
        sums = np.zeros_like(centres)  # (k, d)
        np.add.at(sums, cells, x)  # sums[cells[i]] += x[i]
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)  # an empty cell stays
    return Clusters(centres, cells, np.array(inertias))


def best_of(x: Floats, k: int, rng: np.random.Generator, starts: int = 10) -> Clusters:
    """The lowest inertia of several starts with k-means++: the usual guard against a bad end."""
    return min((k_means(x, plus_plus(x, k, rng)) for _ in range(starts)), key=lambda found: found.inertia)


def adjusted_rand(a: Integers, b: Integers) -> float:
    """How well two groupings (n,) agree about *pairs*, whatever the groups are called: 1 the same, 0 chance."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))  # (A, B) how many rows are in both
    np.add.at(table, (a, b), 1)

    def pairs(count: Floats) -> float:
        return float((count * (count - 1) / 2).sum())  # n choose 2

    both, in_a, in_b = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = in_a * in_b / pairs(np.array([float(len(a))]))
    best = (in_a + in_b) / 2
    return 1.0 if best == expected else (both - expected) / (best - expected)
