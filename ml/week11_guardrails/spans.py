"""Precision, recall and F1 of spans: was each stretch of text found, as the kind that it is?

The idea: a detector of personal data returns stretches (start, end, kind). Strictly, one is right only where all three
equal a label's. Leniently, touching a label of the same kind is enough: it would still alarm somebody, but redacting
half a card number leaves the other half. Both are counted by kind, for one average hides the kinds not found at all.

    precision = right / found      recall = right / labelled      F1 = 2PR / (P + R)

Source: the exact and partial modes of SemEval-2013's task 9. Left out: credit by characters, kinds confused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Characters ``start`` to ``end`` (without the last) of a text are personal data of this ``kind``."""

    start: int
    end: int
    kind: str


class Score(NamedTuple):
    """Counts of one kind. A share of nothing is 0."""

    right: int
    found: int
    labelled: int
    touched: int  # labels that a span of their kind overlaps

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.labelled if self.labelled else 0.0

    @property
    def f1(self) -> float:
        both = self.found + self.labelled  # 2PR / (P + R) = 2 right / (found + labelled)
        return 2 * self.right / both if both else 0.0

    @property
    def lenient_recall(self) -> float:
        return self.touched / self.labelled if self.labelled else 0.0


def overlaps(a: Span, b: Span) -> bool:
    return a.start < b.end and b.start < a.end


def score(labelled: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]) -> dict[str, Score]:
    """Counts by kind over N texts, each with its labels and its findings. A span counts once, however often listed."""
    counts: dict[str, Counter[str]] = {}
    for wanted, given in zip(map(set, labelled), map(set, found), strict=True):
        for span in wanted:
            touched = any(other.kind == span.kind and overlaps(span, other) for other in given)
            counts.setdefault(span.kind, Counter()).update(labelled=1, right=span in given, touched=touched)
        for span in given:
            counts.setdefault(span.kind, Counter()).update(found=1)
    return {kind: Score(c["right"], c["found"], c["labelled"], c["touched"]) for kind, c in sorted(counts.items())}


def total(scores: dict[str, Score]) -> Score:
    """All kinds together (micro average): every span weighs the same, so frequent kinds decide."""
    return Score(*(sum(column) for column in zip(*scores.values(), strict=True))) if scores else Score(0, 0, 0, 0)
