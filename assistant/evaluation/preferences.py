"""Whether votes make answers' passages better: learn from one folder, measure on another.

Folders are as ``votes`` reads them. The judgements of the one that teaches are votes, too, as an up-vote under an
answer is one: the passage that was chosen against the first ``PASSED`` others that the ranking shows for the question.

    pairwise   of a held-out pair, does the preferred passage score higher? By the cosine alone, and learned
    ndcg@10    the test questions' ranking as ``assistant.knowledge.ranking`` makes it in memory, all stages up to
               the tokens', and with what was learned added to the scores of the first ``FIRST``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.evaluation.collection import BadCollection
from assistant.evaluation.measures import Interval, intervals, per_query
from assistant.evaluation.passages import Encoded, Passages, passages_of
from assistant.evaluation.votes import Part, Vote
from assistant.knowledge.embedder_port import Question
from assistant.knowledge.ranking import PER_LOG_ODDS
from assistant.preferences.features import Asked, Shown
from assistant.preferences.memory import content_key
from assistant.preferences.model import Comparison, Learned, learn

Floats = npt.NDArray[np.float64]
Done = Callable[[int], None]

PASSED = 4  # of the passages shown that were not chosen


@dataclass(frozen=True, slots=True)
class Result:
    """``similarity``, ``learned``: shares of the pairs; ``gain``: of the second over the first, by question.
    ``votes``, ``judged``: what was learned from, comparisons and judged questions."""

    similarity: float
    learned: float
    gain: Interval
    before: float
    after: float
    change: Interval
    effects: Mapping[str, float]
    votes: int
    judged: int

    def document(self) -> dict[str, Any]:
        return {
            "pairwise_accuracy": {
                "similarity": round(self.similarity, 4), "learned": round(self.learned, 4),
                "ci95": [round(self.gain.low, 4), round(self.gain.high, 4)],
            },
            "ndcg@10": {
                "before": round(self.before, 4), "after": round(self.after, 4),
                "ci95": [round(self.change.low, 4), round(self.change.high, 4)],
            },
            "learned_from": {"votes": self.votes, "judged_questions": self.judged},
            "effects": {name: round(value, 4) for name, value in self.effects.items()},
        }  # fmt: skip


class World:
    """The passages of a folder in memory, with what was asked about them."""

    def __init__(self, part: Part, passages: Passages, encode: Encoded) -> None:
        self.part, self.passages, self._encode = part, passages, encode

    @classmethod
    async def of(cls, part: Part, encode: Encoded) -> World:
        return cls(part, await passages_of(part.texts, encode), encode)

    async def compared(self, votes: Sequence[Vote]) -> list[Comparison]:
        """The votes with their passages as the ranking has them."""
        by_question: dict[str, list[Vote]] = {}
        for vote in votes:
            by_question.setdefault(vote.question, []).append(vote)
        found = []
        questions = await self._encode.questions(list(by_question))
        for (text, cast), question in zip(by_question.items(), questions, strict=True):
            asked = self.passages.asked(text, question.vector)
            places = sorted({self.passages.at[side.key] for vote in cast for side in (vote.better, vote.worse)})
            shown = dict(zip(places, self.passages.shown(asked, question, places), strict=True))
            for vote in cast:
                better, worse = (shown[self.passages.at[side.key]] for side in (vote.better, vote.worse))
                found.append(Comparison(asked, better, worse, vote.voter, vote.weight))
        return found

    async def chosen(self, queries: Sequence[str], done: Done) -> list[Comparison]:
        """The passages that were judged to answer, each against the first others that the ranking shows; nothing where
        the ranking does not show it."""
        found = []
        for text, question, relevant in await self._judged(queries):
            asked = self.passages.asked(text, question.vector)
            places, shown = self.passages.ranked(asked, question)
            best = [one for place, one in zip(places, shown, strict=False) if place in relevant]
            others = [one for place, one in zip(places, shown, strict=False) if place not in relevant][:PASSED]
            found += [
                Comparison(asked, one, other, text, 1 / len(others), passed=True) for one in best for other in others
            ]
            done(1)
        return found

    async def orders(self, learned: Learned, queries: Sequence[str], done: Done) -> tuple[list[list[int]], ...]:
        """Places of the passages for each query, best first: without votes, and with them."""
        before, after = [], []
        for text, question, _ in await self._judged(queries):
            asked = self.passages.asked(text, question.vector)
            places, shown = self.passages.ranked(asked, question)
            before.append(places)
            after.append(moved(learned, asked, places, shown))
            done(1)
        return before, after

    async def _judged(self, queries: Sequence[str]) -> list[tuple[str, Question, set[int]]]:
        whole = self.part.collection
        texts = [whole.queries[query] for query in queries]
        places = {name: place for place, name in enumerate(self.part.passages)}
        relevant = [{places[name] for name in whole.judged[query]} for query in queries]
        return list(zip(texts, await self._encode.questions(texts), relevant, strict=True))


def silent(count: int) -> None:
    """Tells nobody that ``count`` more are done."""


def moved(learned: Learned, asked: Asked, places: Sequence[int], shown: Sequence[Shown]) -> list[int]:
    """The same places with the first ``len(shown)`` of them in the order that what was learned gives."""
    scores = np.array([one.score for one in shown]) + PER_LOG_ODDS * learned.moves(asked, shown)
    return [places[one] for one in np.argsort(-scores, kind="stable")] + list(places[len(shown) :])


def taught(train: Part, held: set[str]) -> tuple[list[Vote], list[str]]:
    """The votes and the judged queries of a folder, but for questions that are ``held`` back for measuring."""
    words = {content_key(text) for text in held}
    votes = [vote for vote in train.votes if content_key(vote.question) not in words]
    queries = [query for query, text in train.collection.queries.items() if content_key(text) not in words]
    return votes, queries


def steps(train: Part, test: Part) -> int:
    """How many texts ``evaluate`` embeds and ranks; so often it tells of one more."""
    held = _held(test)
    votes, queries = taught(train, held)
    passages = {f"{one.title}\n{one.text}" for part in (train, test) for one in part.texts}
    asked = {*(vote.question for vote in votes), *(train.collection.queries[query] for query in queries), *held}
    return len(passages) + len(asked) + len(queries) + len(test.collection.queries)


def _held(test: Part) -> set[str]:
    return {vote.question for vote in test.pairs} | set(test.collection.queries.values())


async def learned_from(train: Part, held: set[str], encode: Encoded, done: Done = silent) -> tuple[Learned, int, int]:
    """What a folder teaches; from how many votes, and judged queries. Raises ``BadCollection`` where that is none."""
    votes, queries = taught(train, held)
    if not votes and not queries:
        raise BadCollection(
            "Every question that was voted on is also one of the test's: nothing is left to learn from."
        )
    world = await World.of(train, encode)
    comparisons = [*await world.compared(votes), *await world.chosen(queries, done)]
    if not comparisons:
        raise BadCollection("The ranking shows no passage that anybody chose: nothing is left to learn from.")
    return learn(comparisons, encode.name), len(votes), len(queries)


async def evaluate(train: Part, test: Part, encode: Encoded, done: Done = silent) -> Result:
    """Learn from the votes and judgements of ``train``; measure on the pairs and the questions of ``test``.

    A question that ``test`` holds, too, is left out of what is learned from. ``done``: is told of each question ranked.
    """
    learned, votes, judged = await learned_from(train, _held(test), encode, done)
    world = await World.of(test, encode)
    compared = await world.compared(test.pairs)
    by_cosine, by_learning = outcomes(learned, compared)
    gain = by_question([one.asked.text for one in compared], by_learning - by_cosine)
    before, after = await _ndcg(learned, world, done)
    change = intervals({"change": after - before})["change"]
    return Result(
        float(by_cosine.mean()), float(by_learning.mean()), gain, float(before.mean()), float(after.mean()), change,
        learned.effects(), votes, judged,
    )  # fmt: skip


def outcomes(learned: Learned, compared: Sequence[Comparison]) -> tuple[Floats, Floats]:
    """1 where the preferred passage scores higher, 1/2 where both score alike, shape (comparisons,): by the cosine,
    by what was learned."""
    sides = [(one.better, one.worse) for one in compared]
    by_cosine = [_won(better.cosine, worse.cosine) for better, worse in sides]
    scores = [learned.scores(one.asked, side) for one, side in zip(compared, sides, strict=True)]
    return np.array(by_cosine), np.array([_won(better, worse) for better, worse in scores])


def _won(better: float, worse: float) -> float:
    return 0.5 if better == worse else float(better > worse)


async def _ndcg(learned: Learned, world: World, done: Done) -> tuple[Floats, Floats]:
    """nDCG@10 of each query, before and after."""
    queries = list(world.part.collection.queries)
    before, after = await world.orders(learned, queries, done)
    return ndcg(world.part, queries, before), ndcg(world.part, queries, after)


def ndcg(part: Part, queries: Sequence[str], orders: Sequence[Sequence[int]]) -> Floats:
    """nDCG@10 of each query, whose passages' places are given, best first."""
    names = list(part.passages)
    found = zip(queries, orders, strict=True)
    ranked = {query: [names[place] for place in places if place < len(names)] for query, places in found}
    return per_query(part.collection.judged, ranked, queries)["ndcg@10"]


def by_question(questions: Sequence[str], values: Floats) -> Interval:
    """The mean over questions, each with the mean of its pairs: two pairs of one question are not independent."""
    _, place = np.unique(questions, return_inverse=True)
    means = np.bincount(place, values) / np.bincount(place)
    return intervals({"gain": means})["gain"]
