"""Whether votes make answers' passages better: learn from one folder, measure on another.

Each folder is a judged collection (``collection``) with ``pairs.jsonl`` beside it: {question, chosen, rejected} a line,
and ``chosen_id``, ``rejected_id`` of the corpus or the titles' absence; ``voter`` where it is known. ``feedback.jsonl``
holds {question, passage, rating: [...]}: of two passages that one question's people rated, the better rated one is
preferred. Without a voter's name, what was said about one question is one voter's.

    pairwise   of a held-out pair, does the preferred passage score higher? By the cosine alone, and learned
    ndcg@10    the test questions' ranking as ``assistant.knowledge.ranking`` makes it in memory, all stages up to
               the tokens', and with what was learned added to the scores of the first ``FIRST``
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.evaluation.collection import BadCollection, Collection, read_collection
from assistant.evaluation.lines import objects
from assistant.evaluation.measures import Interval, intervals, per_query
from assistant.knowledge.embedder_port import Embedder, Question, ask, embed_with_tokens
from assistant.knowledge.ranking import FIRST, TOKENS, Candidates, ranked
from assistant.preferences.features import NAMES, SIMILARITY, Passage, Texts, content_key
from assistant.preferences.model import Comparison, Learned, learn

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

PER_LOG_ODDS = 0.1  # of the ranking's score, 0..1
RATINGS = {"excellent": 3.0, "acceptable": 2.0, "could be improved": 1.0, "bad": 0.0}
BLOCK = 512  # texts embedded at once


@dataclass(frozen=True, slots=True)
class Vote:
    """``question`` prefers ``better`` to ``worse``."""

    question: str
    better: Passage
    worse: Passage
    voter: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """One folder. ``pairs``: of pairs.jsonl; ``rated``: those that follow from feedback.jsonl."""

    collection: Collection
    passages: Mapping[str, Passage]  # by id
    pairs: Sequence[Vote]
    rated: Sequence[Vote]


@dataclass(frozen=True, slots=True)
class Result:
    """``similarity``, ``learned``: shares of the pairs; ``gain``: of the second over the first, by question."""

    similarity: float
    learned: float
    gain: Interval
    before: float
    after: float
    change: Interval
    effects: Mapping[str, float]

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
            "effects": {name: round(value, 4) for name, value in self.effects.items()},
        }  # fmt: skip


def read_part(folder: Path) -> Part:
    """Read and check everything; raises ``BadCollection``."""
    collection = read_collection(folder)
    passages = {
        str(row["id"]): Passage(str(row.get("title") or ""), str(row.get("text") or ""))
        for row in _rows(folder / "corpus.jsonl")
    }
    titles = {passage.key: passage.title for passage in passages.values()}
    pairs = [_pair(row, titles) for row in _rows(folder / "pairs.jsonl")]
    rated = list(_rated(_rows(folder / "feedback.jsonl"), titles)) if (folder / "feedback.jsonl").exists() else []
    if not pairs:
        raise BadCollection(f"{folder / 'pairs.jsonl'} holds no pair.")
    return Part(collection, passages, pairs, rated)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (row for _, row in objects(path, BadCollection))


def _pair(row: Mapping[str, Any], titles: Mapping[str, str]) -> Vote:
    try:
        question, *texts = (str(row[name]) for name in ("question", "chosen", "rejected"))
    except KeyError as error:
        raise BadCollection(f"A pair has no {error.args[0]}.") from None
    better, worse = (Passage(titles.get(content_key(text), ""), text) for text in texts)
    return Vote(question, better, worse, str(row.get("voter") or question))


def _rated(rows: Iterator[Mapping[str, Any]], titles: Mapping[str, str]) -> Iterator[Vote]:
    """Every two passages of a question that differ in their mean rating; a difference of one step weighs a half."""
    rated: dict[str, dict[str, float]] = {}
    for row in rows:
        steps = [RATINGS[name] for rating in row.get("rating") or [] if (name := str(rating).casefold()) in RATINGS]
        if steps and row.get("question") and row.get("passage"):
            rated.setdefault(str(row["question"]), {})[str(row["passage"])] = sum(steps) / len(steps)
    for question, found in rated.items():
        for (one, high), (other, low) in combinations(sorted(found.items(), key=lambda item: -item[1]), 2):
            if high > low:
                better, worse = (Passage(titles.get(content_key(text), ""), text) for text in (one, other))
                yield Vote(question, better, worse, question, min((high - low) / 2, 1.0))


class Encoded:
    """Texts' vectors, each text embedded once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, npt.NDArray[np.float32]] = {}
        self._kept: dict[str, bytes | None] = {}
        self._asked: dict[str, Question] = {}

    async def passages(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes | None]]:
        """Vectors, shape (texts, dimensions), and those of the tokens as they are kept."""
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            none: list[bytes | None] = [None] * len(block)
            vectors, kept = await embed_with_tokens(self._embedder, block)
            self._known.update(zip(block, vectors, strict=True))
            self._kept.update(zip(block, kept or none, strict=True))
        return np.stack([self._known[text] for text in texts]), [self._kept[text] for text in texts]

    async def questions(self, texts: Sequence[str]) -> list[Question]:
        new = list({text: None for text in texts if text not in self._asked})
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            found = await asyncio.gather(*(ask(self._embedder, text) for text in block))
            self._asked.update(zip(block, found, strict=True))
        return [self._asked[text] for text in texts]


async def texts_of(passages: Sequence[Passage], encode: Encoded) -> Texts:
    vectors, kept = await encode.passages([f"{passage.title}\n{passage.text}" for passage in passages])
    titles, _ = await encode.passages([passage.title for passage in passages])
    return Texts(passages, vectors, titles, kept)


def known(part: Part) -> list[Passage]:
    """The corpus, and what is voted on beside it."""
    voted = [side for vote in (*part.pairs, *part.rated) for side in (vote.better, vote.worse)]
    return list({passage.key: passage for passage in (*voted, *part.passages.values())}.values())


async def fit(votes: Sequence[Vote], texts: Texts, encode: Encoded) -> Learned:
    """Learn from the votes, whose passages are all in ``texts``."""
    questions = list(dict.fromkeys(vote.question for vote in votes))
    place = {question: number for number, question in enumerate(questions)}
    at = {key: number for number, key in enumerate(texts.keys)}
    vectors = await encode.questions(questions)
    rows: dict[tuple[int, str], Floats] = {}
    asked: dict[int, set[str]] = {}
    for vote in votes:
        asked.setdefault(place[vote.question], set()).update((vote.better.key, vote.worse.key))
    for number, keys in asked.items():
        ordered = sorted(keys)
        found = texts.features(questions[number], vectors[number], [at[key] for key in ordered])
        rows.update(((number, key), row) for key, row in zip(ordered, found, strict=True))
    comparisons = [
        Comparison(place[vote.question], vote.better.key, vote.worse.key, vote.voter, vote.weight) for vote in votes
    ]
    return learn(comparisons, np.stack([one.vector for one in vectors]), rows)


async def compare(learned: Learned, votes: Sequence[Vote], texts: Texts, encode: Encoded) -> tuple[Floats, Floats]:
    """1 where the preferred passage scores higher, 1/2 where both score alike, shape (votes,): cosine, learned."""
    at = {key: number for number, key in enumerate(texts.keys)}
    vectors = await encode.questions([vote.question for vote in votes])
    by_cosine, by_learning = np.zeros(len(votes)), np.zeros(len(votes))
    for number, (vote, vector) in enumerate(zip(votes, vectors, strict=True)):
        keys = (vote.better.key, vote.worse.key)
        rows = texts.features(vote.question, vector, [at[key] for key in keys])
        by_cosine[number] = _won(rows[:, NAMES.index(SIMILARITY)])
        by_learning[number] = _won(learned.scores(rows, vector.vector, keys))
    return by_cosine, by_learning


def _won(scores: Floats) -> float:
    return 0.5 if scores[0] == scores[1] else float(scores[0] > scores[1])


def order(question: str, asked: Question, texts: Texts, learned: Learned) -> tuple[list[int], list[int]]:
    """Places of the passages, best first: without votes, and with them."""
    vector = asked.vector
    bm25, cosine = texts.bm25(question), (texts.vectors @ vector).astype(np.float64)
    most = TOKENS.candidates
    chosen = np.union1d(np.argsort(-bm25, kind="stable")[:most], np.argsort(-cosine, kind="stable")[:most])
    found = Candidates(
        bm25[chosen], cosine[chosen], chosen.astype(np.int64), np.zeros(len(chosen), bool), texts.vectors[chosen]
    )
    places, fused = ranked(TOKENS, found, vector)
    head, rest = chosen[places[:FIRST]].tolist(), chosen[places[FIRST:]].tolist()
    rows = texts.features(question, asked, head, bm25)
    scores = fused[places[:FIRST]] + rows[:, [NAMES.index("pairs"), NAMES.index("tokens")]] @ [
        TOKENS.pairs,
        TOKENS.tokens,
    ]
    moved = scores + PER_LOG_ODDS * learned.moves(rows, vector, [texts.keys[one] for one in head])
    before, after = ([head[one] for one in np.argsort(-arm, kind="stable")] + rest for arm in (scores, moved))
    return before, after


async def evaluate(train: Part, test: Part, encode: Encoded) -> Result:
    """Learn from the pairs and ratings of ``train``; measure on the pairs and the questions of ``test``.

    A question of the test's pairs that ``train`` also holds is left out of what is learned from.
    """
    held = {vote.question for vote in test.pairs} | set(test.collection.queries.values())
    votes = [vote for vote in (train.rated or train.pairs) if vote.question not in held]
    if not votes:
        raise BadCollection(
            "Every question that was voted on is also one of the test's: nothing is left to learn from."
        )
    learned = await fit(votes, await texts_of(known(train), encode), encode)
    texts = await texts_of(known(test), encode)
    by_cosine, by_learning = await compare(learned, test.pairs, texts, encode)
    gain = _by_question([vote.question for vote in test.pairs], by_learning - by_cosine)
    values = await _ndcg(learned, test, encode)
    change = intervals({"change": values[1] - values[0]})["change"]
    return Result(
        float(by_cosine.mean()), float(by_learning.mean()), gain,
        float(values[0].mean()), float(values[1].mean()), change, learned.effects(),
    )  # fmt: skip


async def _ndcg(learned: Learned, test: Part, encode: Encoded) -> tuple[Floats, Floats]:
    """nDCG@10 of each query, before and after."""
    ids, texts = list(test.passages), await texts_of(list(test.passages.values()), encode)
    queries = list(test.collection.queries)
    vectors = await encode.questions([test.collection.queries[query] for query in queries])
    orders = [
        order(test.collection.queries[query], vector, texts, learned)
        for query, vector in zip(queries, vectors, strict=True)
    ]
    before, after = (
        per_query(
            test.collection.judged,
            {query: [ids[place] for place in found[arm]] for query, found in zip(queries, orders, strict=True)},
            queries,
        )["ndcg@10"]
        for arm in (0, 1)
    )
    return before, after


def _by_question(questions: Sequence[str], values: Floats) -> Interval:
    """The mean over questions, each with the mean of its pairs: two pairs of one question are not independent."""
    _, place = np.unique(questions, return_inverse=True)
    means = np.bincount(place, values) / np.bincount(place)
    return intervals({"gain": means})["gain"]
