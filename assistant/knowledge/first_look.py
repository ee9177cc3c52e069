"""The first passages, read: those that hold what the question says gain on those that are only about it.

    pairs     of the question's words that stand side by side, as much as stands in the passage (``pairs``)
    tokens    how near the passage's own words come to each of the question's (``token_vectors``)

Both add to the scores; who comes first then is another matter than how far the first ones lead, and what the answer
makes of that (``assistant.answering.confidence``): the scores stay with the places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant.knowledge import pairs, token_vectors
from assistant.knowledge.documents import Chunk
from assistant.knowledge.ranking import FIRST, Floats, Ranking

Scored = list[tuple[Any, float]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for in the first passages: the question's pairs, and the vectors of its tokens."""

    pairs: Mapping[pairs.Pair, float]
    tokens: Sequence[token_vectors.Asked]

    @classmethod
    def of(
        cls, ranking: Ranking, words: str, idf: Mapping[int, float], tokens: Sequence[token_vectors.Asked]
    ) -> Wanted:
        return cls(pairs.asked(words, idf) if ranking.pairs else {}, tokens if ranking.tokens else ())

    def __bool__(self) -> bool:
        return bool(self.pairs or self.tokens)


def reordered(scored: Scored, known: Mapping[int, Any], wanted: Wanted, ranking: Ranking) -> Scored:
    """The first ones by what they hold of what is wanted, too; ``known``: the passages of those that are there."""
    first = scored[:FIRST]
    read = [known.get(row.id) for row, _ in first]
    score: Floats = np.array([score for _, score in first])
    if wanted.pairs:
        shares = [pairs.share(wanted.pairs, _title_and_text(passage)) if passage else 0.0 for passage in read]
        score = score + ranking.pairs * np.array(shares)
    fits = token_vectors.fits(wanted.tokens, [passage.tokens if passage else None for passage in read])
    if fits is not None:
        score = score + ranking.tokens * fits
    order = np.argsort(-score, kind="stable").tolist()
    return [(first[place][0], first[at][1]) for at, place in enumerate(order)] + scored[len(first) :]


def _title_and_text(passage: Any) -> tuple[str, str]:
    return Chunk(0, "", tuple(passage.heading_path)).context(passage.title), passage.text
