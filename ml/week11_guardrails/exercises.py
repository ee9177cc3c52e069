"""Answers to the exercises of the README. Try first; each is ten lines or so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np

from ml.week11_guardrails import breakage, suite
from ml.week11_guardrails.checksums import is_luhn, luhn_digit
from ml.week11_guardrails.defects import swapped
from ml.week11_guardrails.json_repair import Repaired, Unrepairable, repair
from ml.week11_guardrails.meter import Budget, OverBudget
from ml.week11_guardrails.rag import Rag


def threshold_for_each(labels: np.ndarray, scores: np.ndarray, sources: np.ndarray, false_alarms: float) -> float:
    """Exercise 1: the lowest threshold at which *no* source's harmless texts are flagged more often than promised.

    Each source asks for the quantile of its own harmless scores; the strictest wins.
    """
    wanted = []
    for source in np.unique(sources[labels == 0]):
        harmless = np.sort(scores[(sources == source) & (labels == 0)])[::-1]
        allowed = int(false_alarms * len(harmless))  # so many may be flagged
        wanted.append(float(np.nextafter(harmless[allowed], np.inf)))
    return max(wanted)


def missed_swaps() -> set[str]:
    """Exercise 2: pairs of neighbouring digits that Luhn does not notice when they are swapped."""
    missed = set()
    for a in "0123456789":
        for b in "0123456789":
            number = f"4111{a}{b}55"
            number += luhn_digit(number)
            if a != b and is_luhn(number[:4] + b + a + number[6:]):
                missed.add(a + b)
    return missed


HARMLESS_REPAIRS = {
    "code fence", "text before", "text after", "comment", "quotes", "bare key", "literal", "number", "extra comma",
}  # fmt: skip


def safe_to_act(found: Repaired) -> bool:
    """Exercise 3: whether nothing but the form was mended, so that a call that changes something may be made of it."""
    return set(found.notes) <= HARMLESS_REPAIRS


def silently_different(way: str, values: int, rng: np.random.Generator, accept: Callable[[Repaired], bool]) -> float:
    """Exercise 3, measured: the share of texts read as another value *and* accepted."""
    wrong = 0
    for _ in range(values):
        value, text = breakage.broken(way, rng)
        try:
            found = repair(text)
        except Unrepairable:
            continue
        wrong += accept(found) and found.value != value
    return wrong / values


GUARDS: dict[str, Callable[[], Rag]] = {
    "screen": swapped(screen=lambda question: False),
    "cleaning": swapped(clean=lambda text: text),
    "support check": swapped(grounded=lambda sentence, passages: True),
    "least share of the question": swapped(least=0.0),
    "redaction": swapped(redact=lambda text: text),
}


def unnoticed(guards: dict[str, Callable[[], Rag]]) -> list[str]:
    """Exercise 4: guards whose removal alone turns no check red."""
    return [name for name, build in guards.items() if all(result.passed for result in suite.run(build))]


def smallest_suite(red: np.ndarray) -> tuple[int, ...]:
    """Exercise 4, continued: the fewest columns of ``red`` (D, C) that notice every defect (each row has a red one).

    Checks that are a defect's only witness are in; the others are tried in growing numbers.
    """
    alone = red[red.sum(1) == 1]
    needed = set(np.flatnonzero(alone.any(0)).tolist())
    others = [column for column in range(red.shape[1]) if column not in needed]
    for count in range(len(others) + 1):
        for more in combinations(others, count):
            chosen = tuple(sorted(needed | set(more)))
            if red[:, chosen].any(1).all():
                return chosen
    raise ValueError("a defect that no check notices cannot be covered")


def served(budget: Budget, requests: Iterable[int], most: int, patient: bool) -> int:
    """Exercise 5: how many ``requests`` (their real costs) are answered when all arrive at once.

    An impatient one gives up when the cap cannot bear its reservation; a patient one waits for a bill to be settled.
    """
    waiting, running, done = list(requests), list[int](), 0
    while waiting or running:
        while waiting:
            try:
                budget.reserve(most)
            except OverBudget:
                break
            running.append(waiting.pop(0))
        if not patient:
            waiting = []  # they were refused on the spot
        if not running:
            break  # nothing is in flight that could give something back
        budget.settle(most, running.pop(0))
        done += 1
    return done
