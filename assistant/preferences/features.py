"""What a preference for a passage can rest on: numbers that survive re-chunking and re-embedding.

Each is a share or a logarithm that a person could name, of one question and one passage that the search has in hand:
nothing here asks the database or a model. Pure functions over text and vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from assistant.knowledge.lexical import plain_terms, term_id

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

SCORE, HELD, BEYOND, TITLE, LENGTH = "score", "words held", "heading beyond", "title overlap", "log length"
NAMES = (SCORE, HELD, BEYOND, TITLE, LENGTH)
PARTS = " > "  # stands between a title and headings that are written as one


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. ``vector``: of length 1, shape (dimensions,). ``weights``: its terms' numbers with their idf, as
    ``SearchResult.term_weights`` has them."""

    text: str
    vector: Vectors
    weights: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """A passage as the ranking has it. ``headings``: of its place in the document, the outermost first.

    ``cosine``, ``bm25``: with the question. ``tokens``: the fit of ``token_vectors.fits``, ``pairs``: the share of
    ``pairs.share``; 0 for all where the stage is off. ``score``: of the ranking with those two stages, 0..1 and a
    little over; 0 for all where there was none. ``vector``: of the passage, of length 1, shape
    (dimensions,), where it is at hand.
    """

    title: str
    text: str
    cosine: float
    bm25: float
    tokens: float = 0.0
    pairs: float = 0.0
    score: float = 0.0
    headings: tuple[str, ...] = ()
    vector: Vectors | None = field(default=None, compare=False, repr=False)


def rows(asked: Asked, shown: Sequence[Shown], names: Sequence[str] = NAMES) -> Floats:
    """One row for each passage, one column for each of ``names``; no text is read for a name that is not wanted:

    score           the ranking's
    words held      how many of the question's words stand in the text, as a share
    heading beyond  how many words the nearest heading has that were not asked for, log(1 + n): it is about less
    title overlap   how much of the question's weight stands in the title and the headings, 0..1
    log length      of the text, log(1 + characters)
    """
    words = frozenset(plain_terms(asked.text))
    whole = sum(asked.weights.values()) or 1.0

    def column(name: str, one: Shown) -> float:
        if name == SCORE:
            return one.score
        if name == HELD:
            return len(words & _words(one.text)) / max(len(words), 1)
        if name == BEYOND:
            return math.log1p(len(_words((one.headings or tuple(one.title.split(PARTS)))[-1]) - words))
        if name == TITLE:
            return sum(asked.weights.get(term, 0.0) for term in _numbers((one.title, *one.headings))) / whole
        return math.log1p(len(one.text))

    found = [[column(name, one) for name in names] for one in shown]
    return np.array(found, dtype=np.float64).reshape(len(found), len(names))


@lru_cache(maxsize=4_096)
def _words(text: str) -> frozenset[str]:
    return frozenset(plain_terms(text))


@lru_cache(maxsize=8_192)
def _numbers(texts: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(sorted({term_id(term) for text in texts for term in plain_terms(text)}))  # sorted: sums stay the same
