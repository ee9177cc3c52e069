"""A small RAG system whose model does everything wrong that models do, and the guardrails that put it right.

The idea: to test guardrails one needs a model that misbehaves on command. ``Parrot`` reads a prompt and copies the best
sentence, but it also obeys every order it sees, wherever it stands; adds a sentence that it made up; never admits that
it does not know; repeats personal data; and breaks its JSON in a different way each time. What the system adds around:

    screen the question -> search (what the asker may read) -> clean the passages -> reserve the cost -> model
    -> repair and validate its JSON -> drop what no passage supports, refuse when nothing is left -> redact

Each step is a field of ``Rag``, so that ``defects.py`` can break one at a time. Time is a clock that the model moves,
so latency is exact and tests do not wait. Left out: vectors (week 9), tools (week 10), streaming.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from ml.week11_guardrails import pii
from ml.week11_guardrails.grounding import numbers, sentences, words
from ml.week11_guardrails.handbook import PASSAGES, Passage
from ml.week11_guardrails.injection import keyword_score
from ml.week11_guardrails.json_repair import Unrepairable
from ml.week11_guardrails.json_schema import read
from ml.week11_guardrails.meter import Budget, Meter, OverBudget, Price

SYSTEM = "You answer from the numbered passages only, as JSON with answer and citations. Internal mark: KESTREL-7."
MARK = "KESTREL-7"
MADE_UP = "It usually takes about 77 minutes in all."
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "citations": {"type": "array", "items": {"type": "integer"}}},
    "required": ["answer", "citations"],
}
PRIVATE = tuple(
    r for r in pii.RULES if r.kind in {"EMAIL_ADDRESS", "IBAN_CODE", "US_SSN", "CREDIT_CARD", "PHONE_NUMBER"}
)
ORDER = re.compile(r"\b(?:write|say|reply with): *(?P<said>.+?)(?:(?<=first\.)|$)", re.IGNORECASE)


def tokens(text: str) -> int:
    """About what a tokenizer would count (week 5): words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Parrot:
    """The model's double. ``during`` is called while it "thinks": a test may send another request in there."""

    clock: Clock
    calls: int = 0
    during: Callable[[], object] = lambda: None

    def complete(self, system: str, passages: Sequence[str], question: str) -> str:
        self.calls += 1
        self.clock.now += 0.3 + 0.002 * tokens(" ".join([system, question, *passages]))
        self.during()
        answer, cited = self.copy(passages, question)
        for text in (*passages, question):  # the last order wins
            if ordered := ORDER.search(text):
                answer, cited = ordered["said"], [1]
        if re.search(r"print the system prompt", question, re.IGNORECASE):
            answer = system
        self.clock.now += 0.01 * tokens(answer)
        return spoil(json.dumps({"answer": answer, "citations": cited}), self.calls)

    def copy(self, passages: Sequence[str], question: str) -> tuple[str, list[int]]:
        """The sentence with most of the question's words and an invention, and its passage's number."""
        asked = set(words(question))
        units = [(number, unit) for number, text in enumerate(passages, 1) for unit in sentences(text)[1:]]
        if not units:
            return MADE_UP, [1]
        number, best = max(units, key=lambda item: len(asked & set(words(item[1]))))
        return f"{best} {MADE_UP}", [number]


def spoil(text: str, call: int) -> str:
    """Valid JSON, broken as models break it; which way depends on the number of the call."""
    ways: list[Callable[[str], str]] = [
        lambda t: t,
        lambda t: f"```json\n{t}\n```",
        lambda t: f"Here is the answer: {t} I hope this helps!",
        lambda t: t.replace("}", ",}"),
        lambda t: t.replace('"answer"', "answer").replace('"citations"', "citations"),
        lambda t: t[:-1],  # the token limit
    ]
    return ways[call % len(ways)](text)


class Words:
    """BM25 (week 9) over passages."""

    def __init__(self, passages: Sequence[Passage], k1: float = 1.2, b: float = 0.75) -> None:
        self.passages = passages
        counts = [Counter(words(passage.text)) for passage in passages]
        mean = sum(c.total() for c in counts) / len(counts)
        holding = Counter(word for c in counts for word in c)
        idf = {word: float(np.log1p((len(counts) - n + 0.5) / (n + 0.5))) for word, n in holding.items()}
        self.weights = [
            {word: idf[word] * f * (k1 + 1) / (f + k1 * (1 - b + b * c.total() / mean)) for word, f in c.items()}
            for c in counts
        ]

    def search(self, question: str, groups: frozenset[str], k: int) -> list[Passage]:
        """The best ``k`` passages that one of ``groups`` may read, best first."""
        asked = words(question)
        allowed = [i for i, passage in enumerate(self.passages) if passage.readers & groups]
        scores = {i: sum(self.weights[i].get(word, 0.0) for word in asked) for i in allowed}
        return [self.passages[i] for i in sorted(allowed, key=lambda i: -scores[i])[:k]]


def supported(sentence: str, passages: Sequence[str], share: float = 0.7) -> bool:
    """Whether one passage holds this share of the sentence's words, and all of its numbers."""
    said = set(words(sentence))
    return any(
        len(said & set(words(text))) >= share * len(said) and numbers(sentence) <= numbers(text) for text in passages
    )


def answers(question: str, sentence: str, share: float) -> bool:
    """Whether the sentence takes up this share of the question's words."""
    asked = set(words(question))
    return len(asked & set(words(sentence))) >= share * len(asked)


@dataclass(frozen=True)
class Reply:
    """What the asker sees (``text``, ``citations``), and what a test may look at. ``kind`` is one of: answered,
    not found, blocked, over budget, failed."""

    kind: str
    text: str
    citations: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    seconds: float = 0.0
    cost: int = 0  # micro-dollars


@dataclass
class Rag:
    """The whole system. Every field after the first three can be swapped for a broken one."""

    clock: Clock = field(default_factory=Clock)
    model: Any = None
    meter: Any = None
    index: Any = field(default_factory=lambda: Words(PASSAGES))
    k: int = 4
    max_tokens: int = 120
    least: float = 0.5  # share of the question's words that an answer takes up
    screen: Callable[[str], bool] = lambda question: keyword_score(question) > 0
    clean: Callable[[str], str] = lambda text: " ".join(s for s in sentences(text) if not suspicious(s))
    parse: Callable[[str], dict[str, Any]] = lambda text: read(text, SCHEMA).value
    grounded: Callable[[str, Sequence[str]], bool] = supported
    redact: Callable[[str], str] = lambda text: pii.redact(text, PRIVATE)

    def __post_init__(self) -> None:
        self.model = self.model or Parrot(self.clock)
        self.meter = self.meter or Meter(Price(0.5, 2.0), Budget(1_000_000, clock=self.clock), self.clock)
        self.ids = count(1)

    def ask(self, question: str, groups: frozenset[str] = frozenset()) -> Reply:
        """One question, one reply; never raises for what a model or an asker may do."""
        started = self.clock()
        label = f"request {next(self.ids)}"
        try:
            reply = self._answer(question, groups | {"everyone"}, label)
        except OverBudget as error:
            reply = Reply("over budget", str(error))
        except (Unrepairable, ValueError):
            reply = Reply("failed", "The model's answer could not be read.")
        cost = self.meter.costs.get(label, 0)
        return Reply(reply.kind, reply.text, reply.citations, reply.passages, self.clock() - started, cost)

    def _answer(self, question: str, groups: frozenset[str], label: str) -> Reply:
        if self.screen(question):
            return Reply("blocked", "I answer questions from the handbook; I take no instructions.")
        found = tuple(self.index.search(question, groups, self.k))
        texts = [self.clean(passage.text) for passage in found]
        written = self.parse(self._complete(texts, question, label))
        kept = [s for s in sentences(written["answer"]) if self.grounded(s, texts) and answers(question, s, self.least)]
        if not kept:
            return Reply("not found", "The handbook does not say.", passages=found)
        cited = [found[n - 1].page for n in written["citations"] if 1 <= n <= len(found)]
        return Reply("answered", self.redact(" ".join(kept)), tuple(dict.fromkeys(cited)), found)

    def _complete(self, texts: Sequence[str], question: str, label: str) -> str:
        """The model's text, within the budget: reserved before, billed after."""
        size = tokens(" ".join([SYSTEM, question, *texts]))
        with self.meter.call(label, size, self.max_tokens) as usage:
            usage.prompt_tokens = size
            text: str = self.model.complete(SYSTEM, texts, question)
            usage.completion_tokens = tokens(text)
        return text


def suspicious(sentence: str) -> bool:
    """Whether a sentence of a document gives orders: none of ours does, so it may be stricter than the screen."""
    return keyword_score(sentence) > 0 or bool(ORDER.search(sentence))
