"""Passages in memory, ranked as the search ranks them in the database, stage by stage up to the tokens'.

For measuring what votes change on thousands of questions: the passages' words, pairs and vectors are taken once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from assistant.knowledge import pairs, token_vectors
from assistant.knowledge.embedder_port import Embedder, Question, ask, embed_with_tokens
from assistant.knowledge.lexical import CONTEXT_WEIGHT, plain_terms, saturate, term_id
from assistant.knowledge.ranking import FIRST, TOKENS, Candidates, Ranking, ranked
from assistant.preferences.features import Asked, Shown
from assistant.preferences.memory import content_key

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

BLOCK = 512  # texts embedded at once


@dataclass(frozen=True, slots=True)
class Passage:
    title: str
    text: str

    @property
    def key(self) -> str:
        return content_key(self.text)


class Encoded:
    """Texts' vectors, each text embedded once. ``done``: is told of so many more that are."""

    def __init__(self, embedder: Embedder, done: Callable[[int], None] = lambda count: None) -> None:
        self._embedder = embedder
        self._done = done
        self._known: dict[str, tuple[Vectors, bytes | None]] = {}
        self._asked: dict[str, Question] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    async def passages(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes | None]]:
        """Vectors, shape (texts, dimensions), and those of the tokens as they are kept."""
        new = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            vectors, kept = await embed_with_tokens(self._embedder, block)
            tokens: Sequence[bytes | None] = kept or [None] * len(block)
            self._known.update(zip(block, zip(vectors, tokens, strict=True), strict=True))
            self._done(len(block))
        return np.stack([self._known[text][0] for text in texts]), [self._known[text][1] for text in texts]

    async def questions(self, texts: Sequence[str]) -> list[Question]:
        """Embedded one at a time: a vector is rounded as its batch is, and which questions share one is chance."""
        for text in dict.fromkeys(texts):
            if text not in self._asked:
                self._asked[text] = await ask(self._embedder, text)
                self._done(1)
        return [self._asked[text] for text in texts]


class Passages:
    """``vectors``: of length 1, shape (passages, dimensions), in the passages' order. ``kept``: their tokens' vectors,
    as ``token_vectors.packed`` makes them; None for a passage without."""

    def __init__(self, passages: Sequence[Passage], vectors: Vectors, kept: Sequence[bytes | None] = ()) -> None:
        kept = kept or [None] * len(passages)
        if not passages or not len(passages) == len(vectors) == len(kept):
            raise ValueError("There must be passages, and a vector for each.")
        self.passages, self.vectors, self._kept = passages, vectors, kept
        self.at = {passage.key: place for place, passage in enumerate(passages)}
        titles, texts = ([plain_terms(text) for text in side] for side in self._sides())
        self._pairs = [set(pairwise(title)) | set(pairwise(text)) for title, text in zip(titles, texts, strict=True)]
        counts = [
            Counter(map(term_id, chain(text, title * CONTEXT_WEIGHT)))
            for title, text in zip(titles, texts, strict=True)
        ]
        mean = sum(count.total() for count in counts) / len(counts)
        found: dict[int, tuple[list[int], list[float]]] = {}
        for place, count in enumerate(counts):
            for term, value in zip(count, saturate(list(count.values()), count.total(), mean), strict=True):
                places, values = found.setdefault(term, ([], []))
                places.append(place)
                values.append(value)
        self._terms = {term: (np.array(places), np.array(values)) for term, (places, values) in found.items()}

    def _sides(self) -> tuple[list[str], list[str]]:
        return [passage.title for passage in self.passages], [passage.text for passage in self.passages]

    def asked(self, text: str, vector: Vectors) -> Asked:
        """The question with its terms' idf: log(1 + (N - n + 1/2) / (n + 1/2)), where n of the N passages hold it."""
        terms = sorted(set(map(term_id, plain_terms(text))))  # sorted: sums must not depend on hashing
        held = {term: len(self._terms[term][0]) for term in terms if term in self._terms}
        return Asked(
            text, vector, {term: math.log(1 + (len(self.passages) - n + 0.5) / (n + 0.5)) for term, n in held.items()}
        )

    def bm25(self, asked: Asked) -> Floats:
        """Of every passage, shape (passages,)."""
        scores = np.zeros(len(self.passages))
        for term, idf in asked.weights.items():
            places, values = self._terms[term]
            scores[places] += idf * values
        return scores

    def shown(self, asked: Asked, question: Question, places: Sequence[int], ranking: Ranking = TOKENS) -> list[Shown]:
        """The passages at ``places`` with the scores that the ranking gives them, whether it finds them or not."""
        bm25 = self.bm25(asked)
        chosen, _, fused = self._fused(bm25, question, ranking, places)
        known = dict(zip(chosen.tolist(), fused.tolist(), strict=True))
        return self._read(asked, question, places, bm25, [known[place] for place in places], ranking)

    def ranked(self, asked: Asked, question: Question, ranking: Ranking = TOKENS) -> tuple[list[int], list[Shown]]:
        """The candidates' places, best first, and the first ``FIRST`` of them as the ranking has them."""
        bm25 = self.bm25(asked)
        chosen, order, fused = self._fused(bm25, question, ranking)
        head, rest = chosen[order[:FIRST]].tolist(), chosen[order[FIRST:]].tolist()
        shown = self._read(asked, question, head, bm25, fused[order[:FIRST]].tolist(), ranking)
        places = sorted(range(len(head)), key=lambda place: -shown[place].score)
        return [head[place] for place in places] + rest, [shown[place] for place in places]

    def _fused(
        self, bm25: Floats, question: Question, ranking: Ranking, also: Sequence[int] = ()
    ) -> tuple[npt.NDArray[np.int64], list[int], Floats]:
        """The candidates' places in the index, ``also`` among them; their order; the score of each."""
        cosine = (self.vectors @ question.vector).astype(np.float64)
        best = np.union1d(*(np.argsort(-arm, kind="stable")[: ranking.candidates] for arm in (bm25, cosine)))
        chosen = np.union1d(best, np.array(also, np.int64)).astype(np.int64)
        found = Candidates(bm25[chosen], cosine[chosen], chosen, ~np.isin(chosen, best), self.vectors[chosen])
        return chosen, *ranked(ranking, found, question.vector)

    def _read(
        self, asked: Asked, question: Question, places: Sequence[int], bm25: Floats, scores: Sequence[float],
        ranking: Ranking,
    ) -> list[Shown]:  # fmt: skip
        wanted = pairs.asked(asked.text, asked.weights)
        tokens = [] if question.tokens is None else [token_vectors.Asked(question.tokens)]
        fit = token_vectors.fits(tokens, [self._kept[place] for place in places])
        found = []
        for row, (place, score) in enumerate(zip(places, scores, strict=True)):
            held = sum(wanted[pair] for pair in sorted(wanted.keys() & self._pairs[place]))
            near = 0.0 if fit is None else float(fit[row])
            found.append(
                Shown(
                    self.passages[place].title, self.passages[place].text,
                    float(self.vectors[place] @ question.vector), float(bm25[place]), near, held,
                    score + ranking.pairs * held + ranking.tokens * near, vector=self.vectors[place],
                )
            )  # fmt: skip
        return found


async def passages_of(passages: Sequence[Passage], encode: Encoded) -> Passages:
    return Passages(passages, *await encode.passages([f"{passage.title}\n{passage.text}" for passage in passages]))
