"""Multi-armed bandits: learning by trying, where each try costs. Reinforcement learning without states.

Idea.     k arms pay 1 with unknown probabilities. Always the best so far (*exploit*) may never find the best; always
          trying (*explore*) wastes. The *regret* after T pulls is T p* minus the expected pay of the arms pulled.
            epsilon-greedy   a random arm with probability epsilon: never stops wasting, regret grows as T
            UCB1             the arm with the highest mean_a + sqrt(2 ln t / n_a): "optimism in the face of uncertainty"
            Thompson         draw from each arm's posterior Beta(1 + wins, 1 + losses), pull the largest: plays an arm
                             exactly as often as it believes that arm to be the best
          The last two have regret of order ln T, and no policy can do better (Lai & Robbins 1985).
Source.   Robbins 1952; Auer, Cesa-Bianchi & Fischer 2002 (UCB1); Thompson 1933; Sutton & Barto 2018, chapter 2.
Left out. Contexts (the best arm depends on the question), arms that change with time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml.week01_regression.data import Floats, Integers

# A policy sees pulls (runs, k), wins (runs, k) and the time t = 1, 2, …; it names an arm for each run, (runs,). Many
# runs are played side by side: the loop over time is Python's, all the rest NumPy's.
Policy = Callable[[Integers, Integers, int, np.random.Generator], Integers]


def means(pulls: Integers, wins: Integers) -> Floats:
    """wins / pulls, (runs, k); an arm that was never pulled counts as infinitely good, so that it is tried first."""
    return np.where(pulls > 0, wins / np.maximum(pulls, 1), np.inf)  # (runs, k)


def epsilon_greedy(epsilon: float) -> Policy:
    """The best so far; with probability ``epsilon`` any arm."""

    def choose(pulls: Integers, wins: Integers, t: int, rng: np.random.Generator) -> Integers:
        runs, arms = pulls.shape
        explore = rng.random(runs) < epsilon  # (runs,)
        return np.where(explore, rng.integers(arms, size=runs), means(pulls, wins).argmax(axis=1))  # (runs,)

    return choose


def upper_confidence(pulls: Integers, wins: Integers, t: int) -> Floats:
    """mean + sqrt(2 ln t / n), (runs, k). By Hoeffding, the true mean lies above it with probability at most t^-4."""
    return means(pulls, wins) + np.sqrt(2 * np.log(t) / np.maximum(pulls, 1))  # (runs, k)


def ucb1(pulls: Integers, wins: Integers, t: int, rng: np.random.Generator) -> Integers:
    """The arm that could be best: either it pays well or it is little known."""
    return upper_confidence(pulls, wins, t).argmax(axis=1)  # (runs,)


def thompson(pulls: Integers, wins: Integers, t: int, rng: np.random.Generator) -> Integers:
    """One draw from each posterior, the largest wins. The prior is uniform, Beta(1, 1)."""
    return rng.beta(1 + wins, 1 + pulls - wins).argmax(axis=1)  # (runs, k) -> (runs,)


def play(policy: Policy, arms: Floats, steps: int, runs: int, rng: np.random.Generator) -> tuple[Floats, Integers]:
    """Regret so far, mean over runs, (steps,), and how often each arm was pulled, (runs, k).

    ``arms`` (k,) are the true probabilities, which the policy never sees. Raises ValueError for others than 0..1.
    """
    if len(arms) < 2 or arms.min() < 0 or arms.max() > 1:
        raise ValueError("A bandit needs two or more arms that pay with probabilities in 0..1.")
    pulls = np.zeros((runs, len(arms)), dtype=np.int64)  # (runs, k)
    wins = np.zeros_like(pulls)  # (runs, k)
    gaps = arms.max() - arms  # (k,) what a pull of each costs
    everyone = np.arange(runs)
    cost = np.empty(steps)
    for t in range(1, steps + 1):
        arm = policy(pulls, wins, t, rng)  # (runs,)
        pulls[everyone, arm] += 1
        wins[everyone, arm] += rng.random(runs) < arms[arm]
        cost[t - 1] = gaps[arm].mean()
    return cost.cumsum(), pulls


def auer_bound(arms: Floats, steps: int) -> float:
    """The proven ceiling of UCB1's expected regret: sum over worse arms of 8 ln T / gap + (1 + pi^2/3) gap."""
    gaps = arms.max() - arms  # (k,)
    gaps = gaps[gaps > 0]
    return float((8 * np.log(steps) / gaps + (1 + np.pi**2 / 3) * gaps).sum())


def lai_robbins(arms: Floats, steps: int) -> float:
    """The floor, as T grows, for every policy that is good everywhere: ln T sum gap / KL(arm, best). Arms in 0..1."""
    best = arms.max()
    p = arms[arms < best]  # the worse arms
    divergence = p * np.log(p / best) + (1 - p) * np.log((1 - p) / (1 - best))  # KL of two coins: how unlike they are
    return float(np.log(steps) * ((best - p) / divergence).sum())
