"""Q-learning: the same optimal policy when the rules are *not* known, from experience alone.

Idea.     Act, see the reward r and the next state s', and move the table towards what was just seen:
              Q(s, a) <- Q(s, a) + alpha [ r + gamma max_a' Q(s', a') - Q(s, a) ].
          The bracket is the *temporal-difference error*; on average it is Bellman's equation, sampled. The max makes it
          *off-policy*: it learns about the best policy while it explores with another. With alpha = 1/n^w for the n-th
          visit, 1/2 < w <= 1, and every pair visited for ever, Q converges to Q*.
Why w < 1: 1/n averages all targets alike, also the early ones, which were computed from a wrong Q.
Source.   Watkins 1989; Watkins & Dayan 1992 (proof); Even-Dar & Mansour 2003 (rates); Sutton & Barto 2018, chapter 6.
Left out. Function approximation (DQN), and policy gradients: PPO comes in week 7. SARSA is exercise 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.week01_regression.data import Floats, Integers
from ml.week01_regression.grid import Grid


@dataclass(frozen=True)
class Learned:
    """``q`` (S, A), ``visits`` (S, A), and q as it was at each of the ``checkpoints``, (len(checkpoints), S, A)."""

    q: Floats
    visits: Integers
    history: Floats


class Simulator:
    """The world as a learner meets it: one step at a time, rules hidden. Rewards are the expected ones of (s, a).

    The steps are Python's, one after the other, so what each can lead to is prepared as plain lists.
    """

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.start, self._rng = grid.start, rng
        self.ends = grid.ends.tolist()
        self._rewards = grid.rewards.tolist()
        self._targets = [[np.flatnonzero(p).tolist() for p in row] for row in grid.transitions]
        self._until = [[p[p > 0].cumsum()[:-1].tolist() for p in row] for row in grid.transitions]

    def step(self, state: int, action: int) -> tuple[int, float]:
        """The next state and the reward."""
        u = self._rng.random()
        chosen = sum(u >= limit for limit in self._until[state][action])  # which part of 0..1 the draw fell into
        return self._targets[state][action][chosen], self._rewards[state][action]


def q_learning(
    grid: Grid,
    rng: np.random.Generator,
    steps: int,
    discount: float,
    epsilon: float = 0.5,
    power: float = 0.7,
    checkpoints: tuple[int, ...] = (),
) -> Learned:
    """Learn from ``steps`` moves, a random one with probability ``epsilon``; alpha = 1 / visits^``power``.

    Episodes begin in a random state (*exploring starts*), so that far corners are seen too. Raises ValueError for a
    power outside 0..1: with 0 the newest target counts alone, which is right only where nothing is random.
    """
    if not 0 <= power <= 1:
        raise ValueError(f"The rate's power lies in 0..1; {power:g} does not.")
    world = Simulator(grid, rng)
    states, actions = grid.rewards.shape
    open_states = np.flatnonzero(~grid.ends)  # those in which there is something to do
    q = [[0.0] * actions for _ in range(states)]  # lists: single entries are read and written, where arrays are slow
    visits = [[0] * actions for _ in range(states)]
    history = []
    state = int(rng.choice(open_states))
    for move in range(1, steps + 1):
        row = q[state]
        action = int(rng.random() * actions) if rng.random() < epsilon else row.index(max(row))
        after, reward = world.step(state, action)
        visits[state][action] += 1
        target = reward + discount * max(q[after])  # the values of an end stay zero: nothing follows
        row[action] += (target - row[action]) / visits[state][action] ** power
        state = int(rng.choice(open_states)) if world.ends[after] else after
        if move in checkpoints:
            history.append(np.array(q))  # (S, A)
    return Learned(np.array(q), np.array(visits), np.array(history))
