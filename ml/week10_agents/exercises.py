"""Answers to the exercises of the README. Try first; each is twenty lines or so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from ml.week10_agents.automaton import Piece, byte_range, choice, repeat, sequence, word
from ml.week10_agents.record import Asked


# ---- 1 ----
def naive_multiple(value: float, of: float) -> bool:
    """The trap: 0.3 % 0.1 is 0.09999999999999998."""
    return value % of == 0


def is_multiple(value: float, of: float) -> bool:
    """``multipleOf`` in the decimal numbers that the JSON wrote, not in the binary ones that they became."""
    return (Fraction(str(value)) / Fraction(str(of))).denominator == 1


# ---- 2 ----
def first_come(fits: Sequence[Sequence[bool]]) -> bool:
    """First come, first served: each expected call (row) takes the first call (column) that fits and is free."""
    taken: set[int] = set()
    for row in fits:
        column = next((column for column, good in enumerate(row) if good and column not in taken), None)
        if column is None:
            return False
        taken.add(column)
    return True


# ---- 3 ----
PART = re.compile(r"\[(?!\^)((?:.-.|[^\]\\])+)\](?:\{(\d+)(?:,(\d+))?\})?|([A-Za-z0-9 _:/-])")


def pattern_piece(pattern: str) -> Piece:
    """A piece for patterns made of plain letters and classes with counts, such as ``^[A-Z]{3}$``.

    It must be bound at both ends: without ``^`` and ``$`` a pattern may match anywhere in the string. Raises
    ValueError for everything else, because a piece that lets through too much would break the promise.
    """
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise ValueError("Only patterns that are bound at both ends can be promised.")
    inner, place, pieces = pattern[1:-1], 0, []
    while place < len(inner):
        found = PART.match(inner, place)
        if not found:
            raise ValueError(f"{inner[place:]!r} is more than this knows of patterns.")
        place = found.end()
        if found[4]:
            pieces.append(word(found[4]))
            continue
        ranges = re.findall(r"(.)-(.)|(.)", found[1])
        one = choice(*(byte_range(ord(low or single), ord(high or single)) for low, high, single in ranges))
        least = int(found[2] or 1)
        pieces.append(repeat(one, least, int(found[3] or least)))
    return sequence(word('"'), *pieces, word('"'))


# ---- 4 ----
def read_again(asked: Sequence[Asked]) -> tuple[int, int]:
    """(tokens read in all requests, tokens that were new in their request): the difference was read before."""
    prompts = [one.prompt_tokens for one in asked]
    new = [prompts[0], *(later - earlier for earlier, later in pairwise(prompts))]
    return sum(prompts), sum(max(0, count) for count in new)


def predicted(first: int, growth: float, steps: int) -> float:
    """Tokens read in n requests that start with P tokens and grow by g each: nP + g · n(n - 1) / 2."""
    return steps * first + growth * steps * (steps - 1) / 2
