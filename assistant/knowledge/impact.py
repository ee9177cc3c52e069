"""Which of a term's chunks it weighs most in, so that a search can begin with those.

A term that stands in many chunks weighs little in most of them. Its weights (the document's side of BM25, below
``K1 + 1``) are cut into tiers, and a chunk is marked with each of its terms that lies above the lowest one: the
chunks of one tier are then found by index. The idea is that of impact-ordered indexes (Anh, de Kretser and Moffat
2001); what a search makes of it is told in ``assistant.database.hybrid``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from assistant.database.tables import TERM_SPACE
from assistant.knowledge.lexical import K1

SHARES = (0.545, 0.635, 0.725, 0.795)  # of the most that a term can weigh, at which the next tier begins
CEILINGS = (*(share * (K1 + 1) for share in SHARES), K1 + 1)  # no weight of tier 0, 1, … is greater
TIERS = len(SHARES)  # above the lowest


def tier(weight: float) -> int:
    """0 for the lowest tier, in which chunks are not marked, to ``TIERS``."""
    return bisect_right(CEILINGS, weight, hi=TIERS)


def mark(term: int, of_tier: int) -> int:
    """The number that a chunk is marked with, of four bytes; the two are told apart again by ``unmark``."""
    return (term, -term, TERM_SPACE + term, -TERM_SPACE - term)[of_tier - 1]


def unmark(number: int) -> tuple[int, int]:
    """Term and tier of a mark."""
    sign, size = number > 0, abs(number)
    return (size, 1 if sign else 2) if size <= TERM_SPACE else (size - TERM_SPACE, 3 if sign else 4)


def marks(terms: Iterable[int], weights: Iterable[float]) -> list[int]:
    """The marks of a chunk whose terms have these weights."""
    placed = ((term, tier(weight)) for term, weight in zip(terms, weights, strict=True))
    return [mark(term, of_tier) for term, of_tier in placed if of_tier]
