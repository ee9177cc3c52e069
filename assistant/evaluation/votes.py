"""What people said about passages, as a folder holds it: pairs, ratings, and judgements.

A folder is a judged collection (``collection``) with ``pairs.jsonl`` beside it: {question, chosen, rejected} a line,
and ``voter`` where it is known. ``feedback.jsonl`` holds {question, passage, rating: [...]}: of two passages that one
question's people rated, the better rated one is preferred. Without a voter's name, what was said about one question is
one voter's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from assistant.evaluation.collection import BadCollection, Collection, read_collection
from assistant.evaluation.lines import objects
from assistant.evaluation.passages import Passage
from assistant.preferences.memory import content_key

RATINGS = {"excellent": 3.0, "acceptable": 2.0, "could be improved": 1.0, "bad": 0.0}


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

    @property
    def votes(self) -> list[Vote]:
        """All of them; a pair that the ratings say, too, once."""
        known = {(vote.question, vote.better.key, vote.worse.key) for vote in self.rated}
        more = [vote for vote in self.pairs if (vote.question, vote.better.key, vote.worse.key) not in known]
        return [*self.rated, *more]

    @property
    def texts(self) -> list[Passage]:
        """The corpus, passage by passage, and what is voted on beside it."""
        known = {passage.key for passage in self.passages.values()}
        voted = {side.key: side for vote in (*self.pairs, *self.rated) for side in (vote.better, vote.worse)}
        return [*self.passages.values(), *(side for key, side in voted.items() if key not in known)]


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
