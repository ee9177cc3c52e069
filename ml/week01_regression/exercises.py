"""Answers to the exercises of the README, one function each; ``tests/ml/test_week01_exercises.py`` measures them."""

from __future__ import annotations

import numpy as np

from ml.week01_regression.data import Floats, Integers
from ml.week01_regression.grid import Grid
from ml.week01_regression.logistic import fit_logistic, sigmoid
from ml.week01_regression.q_learning import Simulator

# --- 1. the base rate moves -------------------------------------------------------------------------------------------


def move_prior(probability: Floats, trained: float, real: float) -> Floats:
    """P(y = 1 | x) for a world in which the share of positives is ``real`` and no longer ``trained``; (n,) -> (n,).

    By Bayes, posterior odds = likelihood ratio x prior odds. What x looks like in each class (the ratio) stays, so in
    log odds the old prior goes out and the new one comes in: z' = z - logit(trained) + logit(real). A balanced fit has
    trained = 1/2, whose logit is 0. Probabilities and shares lie within 0..1, without the ends.
    """

    def logit(p: Floats | float) -> Floats | float:
        return np.log(p) - np.log1p(-p)

    return sigmoid(logit(probability) - logit(trained) + logit(real))  # (n,)


# --- 2. double descent ------------------------------------------------------------------------------------------------


def double_descent(
    rng: np.random.Generator, widths: list[int], n: int = 40, d: int = 10, noise: float = 0.3, repeats: int = 20
) -> Floats:
    """Median squared error on new rows for p random ReLU features, p in ``widths``, fitted to n rows: (len(widths),).

    ``lstsq`` gives the exact fit with the smallest weights where there are many. At p = n there is exactly one exact
    fit, and it has to bend wildly to hit the noise; beyond, there are many, and the smallest among them is tame again.
    """
    errors = np.empty((repeats, len(widths)))
    for repeat in range(repeats):
        direction = rng.standard_normal(d) / np.sqrt(d)  # (d,) the truth: y = direction'x + noise
        x, new = rng.standard_normal((n, d)), rng.standard_normal((500, d))  # (n, d), (500, d)
        y = x @ direction + noise * rng.standard_normal(n)  # (n,)
        for column, width in enumerate(widths):
            layer = rng.standard_normal((d, width)) / np.sqrt(d)  # (d, p) a hidden layer that is never trained
            weights = np.linalg.lstsq(np.maximum(x @ layer, 0), y)[0]  # (p,)
            errors[repeat, column] = np.mean((np.maximum(new @ layer, 0) @ weights - new @ direction) ** 2)
    return np.median(errors, axis=0)  # (len(widths),)


# --- 3. how sure are fitted weights? ----------------------------------------------------------------------------------


def weight_spread(
    rng: np.random.Generator, weights: Floats, intercept: float, n: int, repeats: int
) -> tuple[Floats, Floats]:
    """Standard deviation of the fitted weights over ``repeats`` tables of n rows, and their mean standard error, (d,).

    Features are uniform in 0..1, labels are drawn from the model itself. The second is what *one* table can tell about
    the first, by the curvature at its minimum (Fisher's information).
    """
    fitted, claimed = [], []
    while len(fitted) < repeats:
        x = rng.random((n, len(weights)))  # (n, d)
        y = (rng.random(n) < sigmoid(intercept + x @ weights)).astype(float)  # (n,)
        model = fit_logistic(x, y)
        fitted.append(model.weights)
        claimed.append(model.errors[1:])
    return np.std(fitted, axis=0), np.mean(claimed, axis=0)


# --- 4. isotonic regression -------------------------------------------------------------------------------------------


def isotonic(scores: Floats, truth: Integers) -> Floats:
    """The non-decreasing function of the scores (n,) that is nearest to truth (n,) in squares, at each row: (n,).

    Pool adjacent violators: go up through the scores; whenever a block's mean is below that of the block before, the
    two have to share one value, and the best shared value is their mean. Scores should differ from each other.
    """
    order = np.argsort(scores, kind="stable")  # (n,)
    blocks: list[tuple[float, int]] = []  # (mean, size)
    for value in truth[order]:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), size + count
        blocks.append((mean, size))
    fitted = np.empty(len(scores))
    fitted[order] = np.concatenate([np.full(size, mean) for mean, size in blocks])  # (n,)
    return fitted


def isotonic_calibration(scores: Floats, truth: Integers, new: Floats) -> Floats:
    """Probabilities (m,) of ``new`` scores (m,): the fit to scores (n,) and truth (n,), lines between its points."""
    order = np.argsort(scores)  # (n,)
    return np.interp(new, scores[order], isotonic(scores, truth)[order])  # (m,) constant beyond the ends


# --- 5. SARSA on the cliff --------------------------------------------------------------------------------------------

CLIFF = """
............
............
............
SCCCCCCCCCCG
"""


def learn_cliff(
    grid: Grid, rng: np.random.Generator, on_policy: bool, episodes: int = 500, epsilon: float = 0.1, rate: float = 0.1
) -> tuple[Floats, Floats]:
    """Q (S, A) and the reward of each episode (episodes,), while an epsilon-greedy policy learns from the start cell.

    ``on_policy`` (SARSA) takes the value of the action that it will really take next, slips of epsilon included;
    otherwise (Q-learning) that of the best one.
    """
    world = Simulator(grid, rng)
    # no state is worth more than the goal's 1: beginning there makes every untried move look good, and so be tried
    q = np.tile(np.where(grid.ends, 0.0, 1.0)[:, None], grid.rewards.shape[1])  # (S, A)

    def choose(state: int) -> int:
        return int(rng.integers(q.shape[1])) if rng.random() < epsilon else int(q[state].argmax())

    earned = np.zeros(episodes)
    for episode in range(episodes):
        state, action = grid.start, choose(grid.start)
        while not grid.ends[state]:
            after, reward = world.step(state, action)
            following = choose(after)
            value = q[after, following] if on_policy else q[after].max()
            q[state, action] += rate * (reward + value - q[state, action])  # no discount: every episode ends
            earned[episode] += reward
            state, action = after, following
    return q, earned


def greedy_path(grid: Grid, q: Floats, limit: int = 100) -> list[tuple[int, int]]:
    """The (row, column) cells from the start to an end, when q (S, A) is followed without exploring."""
    state, path = grid.start, [grid.cells[grid.start]]
    while not grid.ends[state] and len(path) < limit:
        state = int(grid.transitions[state, q[state].argmax()].argmax())
        path.append(grid.cells[state])
    return path
