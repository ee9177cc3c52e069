"""What speaks for a tool, weighed twice: does the question want a tool, and does this tool do what it asks?

The two are asked apart, since an order says nothing about what the tools can do: "book me a flight" wants a tool as
much where there is none for flights. Both must hold. Each is a small logistic model: ``python -m bench.routing --fit``
fits the first, ``python -m bench.fitting`` the second, and `benchmarks.md` holds what they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

RANKING = (1.0, 0.4, 0.15, 0.35, 0.25)  # in the order of Signals' first fields: which of the tools it is

BIAS = 0.17
# In the order of Signals' fields.
WEIGHTS: tuple[float, ...] = (4.2, 2.61, 0.82, 1.37, 1.14, -4.38, -1.83, 1.6, 1.88, -4.63)

FIT_BIAS = -1.28
FIT_WEIGHTS = (4.7, 1.13, 1.31, 2.28, 0.69, -1.15, 2.34)  # in the order of Fit's fields
BESIDE = 2  # tools beside the best one with which half of its lead counts


class Signals(NamedTuple):
    """What speaks for a tool, or against it; each number in about 0..1.

    ``near``: the tool's cosine. ``words``: the share of the question's term weight (idf) that the tool's description
    and parameters hold. ``given``: the share of its parameters that the question holds a value for. ``exact``: it names
    an enumerated value, or what a pattern wants. ``named``: the share of the tool's own name that it holds.
    ``documents``: the best passage's cosine. ``covered``: the share of the question's term weight that the first
    passages hold. ``now``, ``action``, ``procedure``: how it is put
    (``assistant.answering.wording``).
    """

    near: float
    words: float
    given: float
    exact: float
    named: float
    documents: float
    covered: float
    now: float
    action: float
    procedure: float


class Fit(NamedTuple):
    """What tells whether the best of the tools does what is asked, or is only the least unlike it.

    ``near``, ``words``, ``exact`` and ``named`` are its signals. ``lead``: how far its rank is ahead of the others'
    mean, which counts the more, the more others there are. ``few``: one divided by the number of tools; the fewer stand
    beside it, the nearer it must come by itself. ``foreign``: the question is not in English, where nearness says
    little.
    """

    near: float
    words: float
    exact: float
    named: float
    lead: float
    few: float
    foreign: float


@dataclass(frozen=True, slots=True)
class Weighed:
    """Tools' places, the best first, and how probable it is that the best does what is asked, and is wanted."""

    order: tuple[int, ...]
    probability: float


def weigh(signals: Sequence[Signals], foreign: bool) -> Weighed:
    """``signals`` of all the tools there are, at least one."""
    ranks = [rank(one) for one in signals]
    order = sorted(range(len(signals)), key=lambda place: -ranks[place])
    best = signals[order[0]]
    found = min(wanted(best), fits(fit_of(best, [ranks[place] for place in order], foreign)))
    return Weighed(tuple(order), found)


def rank(signals: Signals) -> float:
    """How near a tool comes, among the tools."""
    return _sum(RANKING, signals)


def fit_of(best: Signals, ranks: Sequence[float], foreign: bool) -> Fit:
    """``ranks`` of all tools, the best first."""
    others = ranks[1:]
    lead = (ranks[0] - sum(others) / len(others)) * len(others) / (len(others) + BESIDE) if others else 0.0
    return Fit(best.near, best.words, best.exact, best.named, lead, 1 / len(ranks), float(foreign))


def wanted(signals: Signals) -> float:
    """The probability that the question wants a tool, if one fits: this one."""
    return _logistic(BIAS + _sum(WEIGHTS, signals))


def fits(fit: Fit) -> float:
    """The probability that a tool does what is asked."""
    return _logistic(FIT_BIAS + _sum(FIT_WEIGHTS, fit))


def _sum(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=False))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
