"""Week 1 without labels: k-means against scikit-learn, bandits against their theory, Q-learning against planning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from ml.week01_regression import bandit
from ml.week01_regression.clusters import adjusted_rand, at_random, best_of, k_means, plus_plus, squared_distances
from ml.week01_regression.data import blobs, load
from ml.week01_regression.grid import SLIPPERY, policy_values, read_grid, value_iteration
from ml.week01_regression.q_learning import Simulator, q_learning

DISCOUNT = 0.9


# --- k-means ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "k"), [("iris", 3), ("wine", 4), ("digits", 10)])
def test_k_means_equals_scikit_learn_from_the_same_start(name: str, k: int) -> None:
    x = load(name).x
    start = plus_plus(x, k, np.random.default_rng(k))
    ours, theirs = k_means(x, start), KMeans(k, init=start, n_init=1, tol=0, algorithm="lloyd").fit(x)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, atol=1e-6)
    np.testing.assert_array_equal(ours.cells, theirs.labels_)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-9)
    assert (np.diff(ours.inertias) <= 1e-9 * ours.inertias[:-1]).all()
    labels = load(name).y
    assert adjusted_rand(ours.cells, labels) == pytest.approx(adjusted_rand_score(labels, ours.cells), abs=1e-12)


def test_squared_distances_equal_scikit_learn() -> None:
    x = load("wine").x
    np.testing.assert_allclose(squared_distances(x, x[:4]), pairwise_distances(x, x[:4]) ** 2, atol=1e-6)


def test_plus_plus_draws_by_squared_distance() -> None:
    x = np.array([[0.0], [1.0], [3.0]])
    pairs = np.zeros((4, 4))
    rng = np.random.default_rng(0)
    for _ in range(6000):
        first, second = plus_plus(x, 2, rng)[:, 0].astype(int)
        pairs[first, second] += 1
    assert pairs[0, 3] / pairs[0].sum() == pytest.approx(9 / 10, abs=0.03)  # from 0: 1² and 3²
    assert pairs[1, 3] / pairs[1].sum() == pytest.approx(4 / 5, abs=0.03)  # from 1: 1² and 2²


def test_careful_starts_find_25_blobs_more_often() -> None:
    rng = np.random.default_rng(0)
    corners = 4.0 * np.stack(np.meshgrid(range(5), range(5)), axis=-1).reshape(25, 2)
    x, _ = blobs(rng, 750, corners, spread=0.4)
    careful, random = ([k_means(x, choose(x, 25, rng)).inertia for _ in range(20)] for choose in (plus_plus, at_random))
    assert np.median(careful) < 0.7 * np.median(random)
    assert best_of(x, 25, rng).inertia <= np.median(careful)


def test_k_means_survives_copies_and_empty_cells() -> None:
    x = np.zeros((5, 2))
    assert k_means(x, plus_plus(x, 3, np.random.default_rng(0))).inertia == 0
    with pytest.raises(ValueError, match="1 to 5 clusters"):
        plus_plus(x, 6, np.random.default_rng(0))


# --- bandits ----------------------------------------------------------------------------------------------------------

ARMS = np.array([0.2, 0.5, 0.8])


def test_upper_confidence_by_hand() -> None:
    index = bandit.upper_confidence(np.array([[4, 0, 8]]), np.array([[1, 0, 8]]), 12)
    assert index[0, 0] == pytest.approx(0.25 + np.sqrt(2 * np.log(12) / 4))
    assert index[0, 1] == np.inf
    assert index[0, 2] == pytest.approx(1 + np.sqrt(2 * np.log(12) / 8))


def test_thompson_plays_an_arm_as_often_as_it_believes_in_it() -> None:
    pulls, wins = np.tile([10, 4], (40_000, 1)), np.tile([6, 3], (40_000, 1))
    chosen = bandit.thompson(pulls, wins, 15, np.random.default_rng(0))
    p = (np.arange(4000) + 0.5) / 4000  # P(second > first) by integrating Beta(4, 2) against Beta(7, 5)'s distribution
    first, second = p**6 * (1 - p) ** 4, p**3 * (1 - p)
    belief = (second * np.cumsum(first)).sum() / (first.sum() * second.sum())
    assert chosen.mean() == pytest.approx(belief, abs=0.01)


def test_regret_grows_as_the_theory_says() -> None:
    steps = 3000
    curves = {}
    for name, policy in (("greedy", bandit.epsilon_greedy(0.1)), ("ucb", bandit.ucb1), ("thompson", bandit.thompson)):
        curves[name], pulls = bandit.play(policy, ARMS, steps, 60, np.random.default_rng(1))
        assert (pulls.sum(axis=1) == steps).all()
    # epsilon-greedy never stops exploring: epsilon times the mean gap, a pull
    slope = (curves["greedy"][-1] - curves["greedy"][steps // 2]) / (steps / 2)
    assert slope == pytest.approx(0.1 * (0.6 + 0.3 + 0.0) / 3, rel=0.15)
    assert curves["ucb"][-1] < bandit.auer_bound(ARMS, steps)
    assert curves["ucb"][-1] - curves["ucb"][steps // 2] < 0.2 * curves["ucb"][-1]  # logarithmic: ln 2 / ln 3000 = 0.09
    assert 0.3 * bandit.lai_robbins(ARMS, steps) < curves["thompson"][-1] < curves["ucb"][-1]


def test_theory_by_hand() -> None:
    arms = np.array([0.5, 0.25])
    divergence = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert bandit.lai_robbins(arms, 100) == pytest.approx(np.log(100) * 0.25 / divergence)
    assert bandit.auer_bound(arms, 100) == pytest.approx(8 * np.log(100) / 0.25 + (1 + np.pi**2 / 3) * 0.25)


# --- planning and Q-learning ------------------------------------------------------------------------------------------


def test_transitions_are_probabilities_and_by_hand() -> None:
    grid = read_grid("S.\nXG", slip=0.2, step=-0.1)
    np.testing.assert_allclose(grid.transitions.sum(axis=2), 1)
    # right from the corner: 0.8 to the floor, 0.1 up (a wall: stays), 0.1 down into the pit
    np.testing.assert_allclose(grid.transitions[0, 1], [0.1, 0.8, 0.1, 0.0])
    assert grid.rewards[0, 1] == pytest.approx(-0.1 + 0.1 * -1)
    assert grid.rewards[1, 2] == pytest.approx(-0.1 + 0.8 * 1)
    assert not grid.rewards[grid.ends].any()


def test_values_of_a_corridor_by_hand() -> None:
    q, _ = value_iteration(read_grid("S..G", step=-0.1), DISCOUNT)
    last = -0.1 + 1
    middle = -0.1 + 0.9 * last
    np.testing.assert_allclose(q.max(axis=1), [-0.1 + 0.9 * middle, middle, last, 0])
    np.testing.assert_array_equal(q.argmax(axis=1)[:3], 1)


def test_value_iteration_contracts_and_its_policy_has_its_values() -> None:
    grid = read_grid(SLIPPERY, slip=0.2)
    q, changes = value_iteration(grid, DISCOUNT)
    assert (changes[1:] <= DISCOUNT * changes[:-1] + 1e-15).all()
    np.testing.assert_allclose(policy_values(grid, q.argmax(axis=1), DISCOUNT), q.max(axis=1), atol=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(20):  # no other policy is better anywhere
        other = policy_values(grid, rng.integers(4, size=len(q)), DISCOUNT)
        assert (other <= q.max(axis=1) + 1e-9).all()


def test_q_learning_equals_value_iteration_where_nothing_is_random() -> None:
    grid = read_grid(SLIPPERY)
    best, _ = value_iteration(grid, DISCOUNT)
    learned = q_learning(grid, np.random.default_rng(0), 40_000, DISCOUNT, power=0.0)
    np.testing.assert_allclose(learned.q, best, atol=1e-9)


def test_q_learning_finds_the_optimal_policy_of_a_slippery_grid() -> None:
    grid = read_grid(SLIPPERY, slip=0.2)
    best, _ = value_iteration(grid, DISCOUNT)
    learned = q_learning(grid, np.random.default_rng(0), 300_000, DISCOUNT, checkpoints=(3_000, 300_000))
    worth = policy_values(grid, learned.q.argmax(axis=1), DISCOUNT)
    np.testing.assert_allclose(worth, best.max(axis=1), atol=1e-6)  # the policy is optimal from every state
    early, late = np.abs(learned.history - best).max(axis=(1, 2))
    assert late < 0.1 < early
    assert learned.visits.sum() == 300_000


def test_the_simulator_follows_the_rules() -> None:
    grid = read_grid("S.\nXG", slip=0.2)
    world = Simulator(grid, np.random.default_rng(0))
    seen = np.bincount([world.step(0, 1)[0] for _ in range(10_000)], minlength=4) / 10_000
    np.testing.assert_allclose(seen, grid.transitions[0, 1], atol=0.015)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_grid("S..\n.."), "rows of one length"),
        (lambda: read_grid("..G"), "exactly one S"),
        (lambda: read_grid("SG", slip=2), "probability"),
        (lambda: value_iteration(read_grid("SG"), 1.0), "below 1"),
        (lambda: q_learning(read_grid("SG"), np.random.default_rng(), 1, 0.9, power=2), "power"),
        (lambda: bandit.play(bandit.ucb1, np.array([0.5]), 1, 1, np.random.default_rng()), "two or more arms"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
