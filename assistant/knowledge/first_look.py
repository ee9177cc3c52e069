"""The first passages, read: those that hold what the question says gain on those that are only about it.

    pairs        of the question's words that stand side by side, as much as stands in the passage (``pairs``)
    tokens       how near the passage's own words come to each of the question's (``token_vectors``)
    preferences  what people's votes have taught, where something was learned (``assistant.preferences``)

All add to the scores; who comes first then is another matter than how far the first ones lead, and what the answer
makes of that (``assistant.answering.confidence``): the scores stay with the places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from assistant.knowledge import pairs, token_vectors
from assistant.knowledge.documents import Chunk
from assistant.knowledge.ranking import FIRST, Floats, Ranking, Vectors
from assistant.preferences.features import Asked, Shown

Scored = list[tuple[Any, float]]


class Preference(Protocol):
    """What was learned of people's preferences (``assistant.preferences.model.Learned``)."""

    def moves(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        """Log-odds to be added for each passage, shape (passages,), bounded."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a passage: how its ``tokens`` fit, its share of the ``pairs``, the ``score`` that the ranking
    gives it with both, and by how many log-odds votes ``moved`` it; its ``vector``, where that was read."""

    tokens: float
    pairs: float
    score: float
    moved: float = 0.0
    vector: Vectors | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for in the first passages: the question's pairs, the vectors of its tokens, and what people who
    asked ``asked`` would prefer, where something is known of that."""

    pairs: Mapping[pairs.Pair, float]
    tokens: Sequence[token_vectors.Asked]
    asked: Asked
    preference: Preference | None = None

    @classmethod
    def of(
        cls, ranking: Ranking, asked: Asked, tokens: Sequence[token_vectors.Asked], preference: Preference | None = None
    ) -> Wanted:
        return cls(
            pairs.asked(asked.text, asked.weights) if ranking.pairs else {}, tokens if ranking.tokens else (),
            asked, preference if ranking.preferences else None,
        )  # fmt: skip

    def __bool__(self) -> bool:
        return bool(self.pairs or self.tokens or self.preference)


def reordered(
    scored: Scored, known: Mapping[int, Any], wanted: Wanted, ranking: Ranking, vectors: Mapping[int, Vectors]
) -> tuple[Scored, dict[int, Look]]:
    """The first ones by what they hold of what is wanted, too, and what was seen of each by its id; ``known``: the
    passages of those that are there; ``vectors``: of the candidates, as many as were read."""
    first = scored[:FIRST]
    read = [known.get(row.id) for row, _ in first]
    score: Floats = np.array([score for _, score in first])
    shares = np.zeros(len(first))
    if wanted.pairs:
        shares = np.array([pairs.share(wanted.pairs, _title_and_text(one)) if one else 0.0 for one in read])
        score = score + ranking.pairs * shares
    fits = token_vectors.fits(wanted.tokens, [passage.tokens if passage else None for passage in read])
    if fits is not None:
        score = score + ranking.tokens * fits
    looks = [
        Look(0.0 if fits is None else float(fits[place]), float(shares[place]), float(score[place]),
             vector=vectors.get(row.id))
        for place, (row, _) in enumerate(first)
    ]  # fmt: skip
    moved = _moved(wanted, [row for row, _ in first], read, looks)
    order = np.argsort(-(score + ranking.preferences * moved), kind="stable").tolist()
    seen = {
        row.id: replace(look, moved=float(move)) if move else look
        for (row, _), look, move in zip(first, looks, moved, strict=True)
    }
    return [(first[place][0], first[at][1]) for at, place in enumerate(order)] + scored[len(first) :], seen


def _moved(wanted: Wanted, rows: Sequence[Any], read: Sequence[Any], looks: Sequence[Look]) -> Floats:
    """What votes have to say of each, in log-odds; nothing of those that are gone."""
    moved = np.zeros(len(rows))
    there = [place for place, passage in enumerate(read) if passage is not None]
    if wanted.preference is not None and there:
        shown = [shown_as(read[place], rows[place].cosine, rows[place].bm25, looks[place]) for place in there]
        moved[there] = wanted.preference.moves(wanted.asked, shown)
    return moved


def shown_as(passage: Any, cosine: float, bm25: float, look: Look) -> Shown:
    """A passage as what is learned of preferences knows it. ``passage`` has a title, a heading_path and a text."""
    return Shown(
        passage.title, passage.text, cosine, bm25, look.tokens, look.pairs, look.score, tuple(passage.heading_path),
        look.vector,
    )  # fmt: skip


def _title_and_text(passage: Any) -> tuple[str, str]:
    return Chunk(0, "", tuple(passage.heading_path)).context(passage.title), passage.text
