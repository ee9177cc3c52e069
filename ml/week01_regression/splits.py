"""Train, validation and test: which rows may teach, which may choose, and which may only judge.

Idea.     A model is judged on rows that it has not seen. *Train* fits the weights. *Validation* chooses everything
          that a person or a loop chooses: the degree, the penalty, the threshold. *Test* is looked at once, at the
          end. Where rows are few, k-fold cross-validation lets each row be the judge exactly once.
Why.      Each choice made on a set of rows bends the result towards these rows, and so makes their score too good.
Source.   Stone 1974 (cross-validation); Hastie, Tibshirani & Friedman 2009, chapter 7.
Left out. Splits by time: where the future is predicted from the past, a random split lets the future leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ml.week01_regression.data import Floats, Integers


def three_ways(
    n: int, rng: np.random.Generator, validation: float = 0.2, test: float = 0.2
) -> tuple[Integers, Integers, Integers]:
    """Shuffled row numbers of train, validation and test; together each of 0..n-1 once. Raises ValueError."""
    sizes = round(n * validation), round(n * test)
    if min(sizes) < 1 or sum(sizes) >= n:
        raise ValueError(f"{n} rows cannot be split with {validation:g} for validation and {test:g} for the test.")
    order = rng.permutation(n)  # (n,)
    return order[sum(sizes) :], order[: sizes[0]], order[sizes[0] : sum(sizes)]


def k_folds(n: int, k: int, rng: np.random.Generator) -> Iterator[tuple[Integers, Integers]]:
    """k pairs of (train rows, held-out rows); each row is held out exactly once. Raises ValueError."""
    yield from _leave_out(np.array_split(rng.permutation(n), _parts(k, n, "rows")))


def stratified_folds(
    y: npt.NDArray[np.generic], k: int, rng: np.random.Generator
) -> Iterator[tuple[Integers, Integers]]:
    """Folds in which each class has its share, give or take one row: with a rare class, chance may leave a fold none.

    ``y`` (n,). The rows are dealt out class by class like cards, so that sizes differ by one at most.
    """
    _parts(k, len(y), "rows")
    shuffled = rng.permutation(len(y))  # (n,)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]  # (n,) all of class 0, then class 1, …
    yield from _leave_out([by_class[start::k] for start in range(k)])


def group_folds(
    groups: npt.NDArray[np.generic], k: int, rng: np.random.Generator
) -> Iterator[tuple[Integers, Integers]]:
    """Folds that never tear a group apart, ``groups`` (n,): all questions about a page are on one side.

    Near copies on both sides turn the test into a memory test (see ``leakage``).
    """
    names = rng.permutation(np.unique(groups))
    parts = np.array_split(names, _parts(k, len(names), "groups"))
    yield from _leave_out([np.flatnonzero(np.isin(groups, part)) for part in parts])


def cross_validate(folds: Iterator[tuple[Integers, Integers]], score: Callable[[Integers, Integers], float]) -> Floats:
    """``score(train rows, held-out rows)`` of every fold, (k,): its mean is the estimate, its spread says how sure."""
    return np.array([score(train, held_out) for train, held_out in folds])


def _parts(k: int, n: int, what: str) -> int:
    if not 2 <= k <= n:
        raise ValueError(f"{n} {what} can be cut into 2 to {n} folds, not {k}.")
    return k


def _leave_out(parts: list[Integers]) -> Iterator[tuple[Integers, Integers]]:
    for index, held_out in enumerate(parts):
        yield np.concatenate(parts[:index] + parts[index + 1 :]), held_out
