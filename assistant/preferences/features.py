"""What a preference for a passage can rest on: numbers that survive re-chunking and re-embedding.

Each is a share or a logarithm that a person could name, of one question and one passage of a known set of texts. The
set is the candidates' whole index for an evaluation; its word statistics are BM25's. Pure functions over text and
vectors.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from assistant.knowledge import pairs
from assistant.knowledge.embedder_port import Question
from assistant.knowledge.lexical import CONTEXT_WEIGHT, plain_terms, saturate, term_id
from assistant.knowledge.token_vectors import Asked, fits

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

SIMILARITY, LENGTH = "similarity", "log length"
NAMES = (SIMILARITY, "title similarity", "tokens", "bm25", "title overlap", "text overlap", "pairs", LENGTH)
_SPACES = re.compile(r"\s+")


def content_key(text: str) -> str:
    """What a passage is known by in the memory of votes: its words, whatever its layout, as 32 hexadecimal digits."""
    return hashlib.sha256(_SPACES.sub(" ", text.casefold()).strip().encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Passage:
    title: str
    text: str

    @property
    def key(self) -> str:
        return content_key(self.text)


class Texts:
    """Passages with their word statistics and vectors.

    ``vectors``, ``titles``: of length 1, shape (passages, dimensions), in the passages' order. ``kept``: their tokens'
    vectors, as ``token_vectors.packed`` makes them; None for a passage without.
    """

    def __init__(
        self, passages: Sequence[Passage], vectors: Vectors, titles: Vectors, kept: Sequence[bytes | None] = ()
    ) -> None:
        kept = kept or [None] * len(passages)
        if not passages or not len(passages) == len(vectors) == len(titles) == len(kept):
            raise ValueError("There must be passages, and a vector and a title's vector for each.")
        self._kept = kept
        self.passages, self.vectors, self.titles = passages, vectors, titles
        self.keys = [passage.key for passage in passages]
        self._words = [set(map(term_id, plain_terms(passage.text))) for passage in passages]
        self._heads = [set(map(term_id, plain_terms(passage.title))) for passage in passages]
        self._saturated: dict[int, tuple[list[int], list[float]]] = {}
        counts = [_counts(passage) for passage in passages]
        mean = sum(count.total() for count in counts) / len(counts)
        for place, count in enumerate(counts):
            for term, value in zip(count, saturate(list(count.values()), count.total(), mean), strict=True):
                places, values = self._saturated.setdefault(term, ([], []))
                places.append(place)
                values.append(value)

    def idf(self, term: int) -> float:
        """log(1 + (N - n + 1/2) / (n + 1/2)), where n of the N passages hold the term; 0 for one that none holds."""
        n = len(self._saturated[term][0]) if term in self._saturated else 0
        return math.log(1 + (len(self.passages) - n + 0.5) / (n + 0.5)) if n else 0.0

    def bm25(self, question: str) -> Floats:
        """Of every passage, shape (passages,)."""
        scores = np.zeros(len(self.passages))
        for term in _terms(question):
            if term in self._saturated:
                places, values = self._saturated[term]
                scores[places] += self.idf(term) * np.array(values)
        return scores

    def features(self, text: str, question: Question, places: Sequence[int], bm25: Floats | None = None) -> Floats:
        """One row for each of ``places``, one column for each of ``NAMES``; ``bm25``: of all passages, where known.

        The tokens' fit is 0 where none are kept: the same for all, so that it decides nothing.
        """
        weights = {term: self.idf(term) for term in _terms(text)}
        whole = sum(weights.values()) or 1.0
        asked = pairs.asked(text, weights)
        scores = self.bm25(text) if bm25 is None else bm25
        tokens = [] if question.tokens is None else [Asked(question.tokens)]
        fit = fits(tokens, [self._kept[place] for place in places])
        rows = [
            (
                float(self.vectors[place] @ question.vector),
                float(self.titles[place] @ question.vector),
                0.0 if fit is None else float(fit[row]),
                float(scores[place]) / whole,
                sum(weights[term] for term in weights.keys() & self._heads[place]) / whole,
                sum(weights[term] for term in weights.keys() & self._words[place]) / whole,
                pairs.share(asked, (self.passages[place].title, self.passages[place].text)) if asked else 0.0,
                math.log1p(len(self.passages[place].text)),
            )
            for row, place in enumerate(places)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(NAMES))


def _terms(question: str) -> list[int]:
    return sorted(set(map(term_id, plain_terms(question))))  # sorted: sums must not depend on hashing


def _counts(passage: Passage) -> Counter[int]:
    return Counter(map(term_id, chain(plain_terms(passage.text), plain_terms(passage.title) * CONTEXT_WEIGHT)))
