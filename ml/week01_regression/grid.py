"""A grid world and value iteration: the optimal policy when the rules are known.

Idea.     A *Markov decision process*: states s, actions a, transition probabilities P(s'|s, a), expected rewards
          R(s, a) and a discount gamma. The optimal values satisfy Bellman's equation,
              Q*(s, a) = R(s, a) + gamma sum_s' P(s'|s, a) max_a' Q*(s', a').
          Its right side is a contraction by gamma, so repeating it from anywhere converges, by gamma a round.
Source.   Bellman 1957; Sutton & Barto 2018, chapters 3 and 4.
Left out. States that are too many for a table, or only partly seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.week01_regression.data import Floats, Integers

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left, as (row, column)
ARROWS = "↑→↓←"

SLIPPERY = """
S..#..
.#...X
...#.G
.#....
"""


@dataclass(frozen=True)
class Grid:
    """The rules of a map: ``transitions`` (S, A, S), ``rewards`` (S, A), ``ends`` (S,) where an episode is over.

    ``cells`` lists the (row, column) of every state and ``kinds`` its letter on the map; ``start`` is a state's index.
    """

    cells: list[tuple[int, int]]
    kinds: str
    transitions: Floats
    rewards: Floats
    ends: npt.NDArray[np.bool_]
    start: int
    shape: tuple[int, int]


def read_grid(text: str, slip: float = 0.0, step: float = -0.04) -> Grid:
    """A map of ``S`` start, ``.`` floor, ``#`` wall, ``G`` goal (+1, the end), ``X`` pit (-1, the end), ``C`` cliff.

    With probability ``slip`` a move goes to one side or the other instead, half each. A move into a wall stays where
    it is; each move earns ``step``. A cliff is no end: whoever falls earns -1 and is put back at the start.
    Raises ValueError.
    """
    rows = text.strip().splitlines()
    if len({len(row) for row in rows}) != 1 or text.count("S") != 1 or set("".join(rows)) - set("S.#GXC"):
        raise ValueError("A grid has rows of one length, made of S . # G X C, with exactly one S.")
    if not 0 <= slip <= 1:
        raise ValueError(f"A slip is a probability, not {slip:g}.")
    cells = [(r, c) for r, row in enumerate(rows) for c, kind in enumerate(row) if kind not in "#C"]
    index = {cell: state for state, cell in enumerate(cells)}
    kinds = "".join(rows[r][c] for r, c in cells)
    start = kinds.index("S")
    ends = np.array([kind in "GX" for kind in kinds])  # (S,)
    transitions = np.zeros((len(cells), len(MOVES), len(cells)))  # (S, A, S)
    rewards = np.zeros((len(cells), len(MOVES)))  # (S, A)
    for (r, c), state in index.items():
        for action in range(len(MOVES)):
            if ends[state]:
                transitions[state, action, state] = 1  # over: it stays, and nothing is earned any more
                continue
            for turn, chance in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
                move = MOVES[(action + turn) % len(MOVES)]
                there = (r + move[0], c + move[1])
                inside = 0 <= there[0] < len(rows) and 0 <= there[1] < len(rows[0])
                kind = rows[there[0]][there[1]] if inside else "#"
                target = start if kind == "C" else index.get(there, state)  # falls back, or moves, or bumps
                transitions[state, action, target] += chance
                rewards[state, action] += chance * (step + {"G": 1.0, "X": -1.0, "C": -1.0}.get(kind, 0.0))
    return Grid(cells, kinds, transitions, rewards, ends, start, (len(rows), len(rows[0])))


def value_iteration(grid: Grid, discount: float, tolerance: float = 1e-12) -> tuple[Floats, Floats]:
    """Q* (S, A), and how much the largest entry changed in each round (rounds,).

    When a round changes nothing by more than e, Q is within e gamma / (1 - gamma) of Q*. Raises ValueError.
    """
    if not 0 <= discount < 1:
        raise ValueError(f"Values are finite for a discount in 0..1, below 1; {discount:g} is not.")
    q = np.zeros_like(grid.rewards)  # (S, A)
    changes = []
    while not changes or changes[-1] > tolerance:
        updated = grid.rewards + discount * grid.transitions @ q.max(axis=1)  # (S, A) + (S, A, S) @ (S,) -> (S, A)
        changes.append(np.abs(updated - q).max())
        q = updated
    return q, np.array(changes)


def policy_values(grid: Grid, policy: Integers, discount: float) -> Floats:
    """V of a fixed policy (S,) of actions, exactly: V = R_pi + gamma P_pi V is linear, so (I - gamma P_pi) V = R_pi."""
    states = np.arange(len(policy))
    p, r = grid.transitions[states, policy], grid.rewards[states, policy]  # (S, S), (S,)
    return np.linalg.solve(np.eye(len(policy)) - discount * p, r)  # (S,)
