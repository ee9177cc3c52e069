"""Finite automata over bytes: a language described by pieces, turned into a table that answers in one look-up.

Idea.    A piece of grammar (a word, a choice, a repetition) becomes a few states of a non-deterministic automaton
         (Thompson); sets of those states become the states of a deterministic one (the subset construction), whose
         table (S, 256) says for each state and byte where to go, -1 for nowhere. A second array holds how many bytes
         each state is away from the end, which later guarantees that a text can always be finished.
Source.  Thompson (1968); Rabin and Scott (1959); Aho, Sethi and Ullman, "Compilers", chapter 3.
Left out. Minimising (the tables are small), and everything that needs a stack: nesting without a bound is not regular.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

# A piece takes the builder and the state after it, and returns the state before it: it is built from right to left.
Piece = Callable[["Builder", int], int]
Edge = tuple[int, int, int]  # first byte, last byte, target


class Builder:
    """The non-deterministic automaton that grows: edges over byte ranges, and empty moves."""

    def __init__(self) -> None:
        self.edges: list[list[Edge]] = []
        self.empty: list[list[int]] = []

    def state(self, edges: Iterable[Edge] = (), empty: Iterable[int] = ()) -> int:
        """A new state with these ways out."""
        self.edges.append(list(edges))
        self.empty.append(list(empty))
        return len(self.edges) - 1


def word(text: str) -> Piece:
    """Exactly this text."""

    def build(builder: Builder, after: int) -> int:
        for byte in reversed(text.encode()):
            after = builder.state([(byte, byte, after)])
        return after

    return build


def byte_range(first: int, last: int) -> Piece:
    """One byte out of ``first`` … ``last``."""
    return lambda builder, after: builder.state([(first, last, after)])


def sequence(*pieces: Piece) -> Piece:
    """One after the other."""

    def build(builder: Builder, after: int) -> int:
        for piece in reversed(pieces):
            after = piece(builder, after)
        return after

    return build


def choice(*pieces: Piece) -> Piece:
    """One of them."""
    return lambda builder, after: builder.state(empty=[piece(builder, after) for piece in pieces])


def repeat(piece: Piece, least: int, most: int | None) -> Piece:
    """``least`` to ``most`` times; None means without end. Each counted time is its own copy: that is how a finite
    automaton counts. Times without end are a loop, and cost no more than one copy."""

    def build(builder: Builder, after: int) -> int:
        here = after
        if most is None:
            here = builder.state()
            builder.empty[here] += [piece(builder, here), after]
        for count in range(least if most is None else most, 0, -1):
            here = piece(builder, here)
            if count > least:  # after count - 1 times the end may come as well
                here = builder.state(empty=[here, after])
        return here

    return build


@dataclass(frozen=True)
class Automaton:
    """``table`` (S, 256): the next state or -1; ``accepting`` (S,); ``distance`` (S,): bytes to the nearest end.
    State 0 is the start. Every state can reach the end."""

    table: npt.NDArray[np.int32]
    accepting: npt.NDArray[np.bool_]
    distance: npt.NDArray[np.int32]

    def walk(self, state: int, text: bytes) -> int:
        """The state after ``text``, or -1."""
        for byte in text:
            if state < 0:
                return -1
            state = int(self.table[state, byte])
        return state

    def matches(self, text: bytes) -> bool:
        """Whether ``text`` is in the language."""
        end = self.walk(0, text)
        return end >= 0 and bool(self.accepting[end])

    def forced(self, state: int) -> bytes:
        """The bytes that must come, as long as there is only one way on: the model need not be asked for them."""
        text = bytearray()
        while not self.accepting[state]:
            ways = np.flatnonzero(self.table[state] >= 0)  # (ways,)
            if len(ways) != 1:
                break
            text.append(int(ways[0]))
            state = int(self.table[state, ways[0]])
        return bytes(text)


def compile_piece(piece: Piece) -> Automaton:
    """The subset construction: a state of the result is a set of states of the builder."""
    builder = Builder()
    end = builder.state()
    closures: dict[int, frozenset[int]] = {}

    def closed(states: Iterable[int]) -> frozenset[int]:
        for state in states:
            if state not in closures:
                closures[state] = _closure(builder, state)
        return frozenset().union(*(closures[state] for state in states))

    start = closed({piece(builder, end)})
    numbers, rows, links, queue = {start: 0}, [], set[tuple[int, int]](), deque([start])
    while queue:
        states = queue.popleft()
        row = np.full(256, -1, np.int32)  # (256,)
        for first, last, targets in _split([edge for state in states for edge in builder.edges[state]]):
            reached = closed(targets)
            if reached not in numbers:
                numbers[reached] = len(numbers)
                queue.append(reached)
            row[first : last + 1] = numbers[reached]
            links.add((len(rows), numbers[reached]))
        rows.append(row)
    accepting = np.array([end in states for states in numbers])  # (S,)
    return Automaton(np.stack(rows), accepting, _distances(links, accepting))


def _closure(builder: Builder, start: int) -> frozenset[int]:
    """All states that empty moves reach, without those that have nothing but empty moves."""
    found, stack = {start}, [start]
    while stack:
        for target in builder.empty[stack.pop()]:
            if target not in found:
                found.add(target)
                stack.append(target)
    return frozenset(state for state in found if builder.edges[state] or not builder.empty[state])


def _split(edges: list[Edge]) -> Iterable[tuple[int, int, set[int]]]:
    """Overlapping byte ranges cut so that each byte belongs to one range with all its targets."""
    cuts = sorted({edge[0] for edge in edges} | {edge[1] + 1 for edge in edges})
    for first, after in pairwise(cuts):
        targets = {target for low, high, target in edges if low <= first < after <= high + 1}
        if targets:
            yield first, after - 1, targets


def _distances(links: set[tuple[int, int]], accepting: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Bytes to the nearest accepting state: breadth first, backwards."""
    before: list[list[int]] = [[] for _ in accepting]
    for source, target in links:
        before[target].append(source)
    distance = np.where(accepting, 0, -1).astype(np.int32)  # (S,)
    queue = deque(np.flatnonzero(accepting).tolist())
    while queue:
        state = queue.popleft()
        for source in before[state]:
            if distance[source] < 0:
                distance[source] = distance[state] + 1
                queue.append(source)
    return distance
