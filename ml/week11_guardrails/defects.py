"""Eighteen ways to break the RAG system, one mistake each: what the suite has to notice.

The idea: each defect is a mistake that somebody has made: a sign turned, a guard forgotten, a cache with too short a
key, a cap looked at afterwards. Each is the intact system with one part swapped, so that a red check points at it.
Three times a second guard would hide the missing one, and is off as well: guards that overlap protect, and hide from
tests which of them works (exercise 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from ml.week11_guardrails.handbook import PASSAGES, Passage
from ml.week11_guardrails.meter import Budget, Meter, OverBudget, Price
from ml.week11_guardrails.rag import Clock, Parrot, Rag, Reply, Words, supported


class Reversed(Words):
    """The worst passages first: a sign turned in the sort."""

    def search(self, question: str, groups: frozenset[str], k: int) -> list[Passage]:
        return super().search(question, groups, len(self.passages))[::-1][:k]


class Shuffled(Words):
    """The right passages in the wrong order: a re-ranker that turned them round."""

    def search(self, question: str, groups: frozenset[str], k: int) -> list[Passage]:
        return super().search(question, groups, k)[::-1]


class Unfiltered(Words):
    """Everybody may read everything."""

    def search(self, question: str, groups: frozenset[str], k: int) -> list[Passage]:
        return super().search(question, groups | {group for p in self.passages for group in p.readers}, k)


class OffByOne(Parrot):
    """Counts passages from zero."""

    def copy(self, passages: Sequence[str], question: str) -> tuple[str, list[int]]:
        answer, cited = super().copy(passages, question)
        return answer, [n % max(len(passages), 1) + 1 for n in cited]


class FirstSentence(Parrot):
    """Answers with what stands first, whatever was asked."""

    def copy(self, passages: Sequence[str], question: str) -> tuple[str, list[int]]:
        return super().copy(passages, " ".join(passages[0].split(".")[1].split()))


class Impatient(Parrot):
    """Asks three times and takes the last answer."""

    def complete(self, system: str, passages: Sequence[str], question: str) -> str:
        for _ in range(2):
            super().complete(system, passages, question)
        return super().complete(system, passages, question)


class LateBudget(Budget):
    """Compares with what was spent, and so lets everything in flight through."""

    def reserve(self, most: int) -> None:
        if self.spent > self.cap:
            raise OverBudget("The cap is reached.")
        self.reserved += most


class Remembering(Rag):
    """A cache whose key is the question alone."""

    def ask(self, question: str, groups: frozenset[str] = frozenset()) -> Reply:
        self.__dict__.setdefault("cache", {})
        if question not in self.cache:
            self.cache[question] = super().ask(question, groups)
        reply: Reply = self.cache[question]
        return reply


def swapped(**parts: object) -> Callable[[], Rag]:
    return lambda: replace(Rag(), **parts)  # type: ignore[arg-type]


def with_model(model: type[Parrot], **parts: object) -> Callable[[], Rag]:
    def build() -> Rag:
        clock = Clock()
        return Rag(clock=clock, model=model(clock), **parts)  # type: ignore[arg-type]

    return build


def late() -> Rag:
    clock = Clock()
    return Rag(clock=clock, meter=Meter(Price(0.5, 2.0), LateBudget(1_000_000, clock=clock), clock))


DEFECTS: dict[str, Callable[[], Rag]] = {
    "ranking turned round": swapped(index=Reversed(PASSAGES)),
    "best passage last": swapped(index=Shuffled(PASSAGES)),
    "an empty index": swapped(index=Words((Passage("empty", "Nothing."),))),
    "citations off by one": with_model(OffByOne),
    "answers something else": with_model(FirstSentence, least=0.0, grounded=supported),
    "no support check": swapped(grounded=lambda sentence, passages: True, least=0.0),
    "answers everything": swapped(least=0.0),
    "refuses too much": swapped(least=0.95),
    "strict JSON only": swapped(parse=json.loads),
    "no screen, no support check": swapped(screen=lambda question: False, least=0.0, grounded=lambda s, p: True),
    "screen too wide": swapped(screen=lambda question: "ignore" in question.lower() or "may" in question.lower()),
    "documents not cleaned": swapped(clean=lambda text: text),
    "no redaction": swapped(redact=lambda text: text),
    "no permissions": swapped(index=Unfiltered(PASSAGES)),
    "cache by question alone": Remembering,
    "whole handbook in the prompt": swapped(k=len(PASSAGES)),
    "asks three times": with_model(Impatient),
    "cap looked at afterwards": late,
}
