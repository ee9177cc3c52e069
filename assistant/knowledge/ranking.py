"""How candidates are put in order, stage by stage. Pure numpy over the candidates' scores and vectors.

    fusion      BM25 and cosine on one scale, added
    document    a passage's scores lean on its document's: the mean of its passages' among the candidates
    feedback    the question's vector leans on the first passages' (Rocchio 1971), and the cosines are taken anew
    pairs       words that stand side by side in the question do in a passage, too (``pairs``)
    tokens      a passage's words are near the question's, one by one (``token_vectors``)
    preferences what people's votes have taught, where a version of that is in force (``assistant.preferences``)
    collapse    the same words again are shown once (``words_of``)
    recency     of two that fit about equally well, the newer comes first (``assistant.knowledge.recency``)

Each stage can be left out: the arms of ``almanac eval retrieval`` are this code with other settings. What chose the
settings stands in `benchmarks.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

BM25_SHARE = 0.4  # of hybrid's fused score; the rest is the vectors'
FIRST = 20  # passages are read for the question's pairs and tokens; 30 and 50 rank the first ten alike
LONG = 25  # words: so many equal ones are a copy under whatever title
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Ranking:
    """One way to rank.

    ``share``: how much of the fused score is BM25's, 0..1. ``scale``: what brings the two to one scale, the range of
    the candidates' scores or their standard deviation. ``candidates``: of each arm. ``document``: the share of the
    document in both scores, 0..1. ``feedback``: the share of the first ``feedback_passages`` in the question's vector.
    ``pairs``: what holding all of the question's pairs adds to the score of one of the first ``FIRST`` passages;
    ``tokens``: what holding all of its tokens would add, times how near it comes to that on average.
    ``preferences``: what a log-odds of what was learned from votes adds to the score of one of the first ``FIRST``.
    ``collapse``: show copies once. ``recency``: the lead in score that a newer document may make up for. ``rerank``:
    how many of the first a cross-encoder orders, where there is one.
    """

    share: float = BM25_SHARE
    scale: Literal["range", "deviation"] = "range"
    candidates: int = 60
    document: float = 0.0
    feedback: float = 0.0
    feedback_passages: int = 8
    pairs: float = 0.0
    tokens: float = 0.0
    preferences: float = 0.0
    collapse: bool = False
    recency: float = 0.0
    rerank: int = 0

    @property
    def needs_vectors(self) -> bool:
        return self.share < 1 and (self.document > 0 or self.feedback > 0)


BM25 = Ranking(share=1.0)
DENSE = Ranking(share=0.0)
HYBRID = Ranking()
# nDCG@10 on SciFact's training and test questions, FeedbackQA's training and valid ones and mtrag_cloud, in memory:
SCALED = Ranking(share=0.45, scale="deviation", candidates=80)
DOCUMENT = replace(SCALED, document=0.3)  # of the vectors alone: .737 .739 .577 .743 .314
FEEDBACK = replace(DOCUMENT, feedback=0.3)  # .736 .738 .577 .741 .329; .2: .736 .741 .578 .744 .324
PAIRS = replace(FEEDBACK, pairs=0.2)  # .738 .741 .583 .744 .340; .1 to .3: within .004
TOKENS = replace(PAIRS, tokens=3.0)  # of 1,609 training questions: 2.25 to 3.5 within .001 (see benchmarks.md)
PER_LOG_ODDS = 0.1  # of the score, 0..1, that a log-odds of what was learned from votes moves
FINAL = replace(TOKENS, preferences=PER_LOG_ODDS, collapse=True, recency=0.01, rerank=20)  # what answers use
ARMS: Mapping[str, Ranking] = {
    "bm25": BM25,
    "dense": DENSE,
    "hybrid": HYBRID,
    "+ deviation": SCALED,
    "+ document": DOCUMENT,
    "+ feedback": FEEDBACK,
    "+ pairs": PAIRS,
    "+ tokens": TOKENS,
    "final": FINAL,
}


@dataclass(frozen=True, slots=True)
class Candidates:
    """``bm25``, ``cosine``, ``documents`` (ids): shape (n,). ``vectors``: of length 1, shape (n, dimensions), or None.

    ``deeper``: which lie beyond the candidates of both arms; they stand behind the others, whatever they score.
    """

    bm25: Floats
    cosine: Floats
    documents: npt.NDArray[np.int64]
    deeper: npt.NDArray[np.bool_]
    vectors: Vectors | None = None


def ranked(ranking: Ranking, found: Candidates, question: Vectors) -> tuple[list[int], Floats]:
    """The candidates' places, best first, and the score of each, 0..1, shape (n,).

    ``question``: its vector, shape (dimensions,). Equal scores keep the order that the candidates came in.
    """
    near = ~found.deeper
    lexical = _Scale.of(ranking.scale, found.bm25[near], ranking.share)
    semantic = _Scale.of(ranking.scale, found.cosine[near], 1 - ranking.share)
    fused = (lexical(found.bm25) + semantic(found.cosine)) / _whole(lexical, semantic)
    if found.vectors is not None and ranking.needs_vectors:
        fused[near] = _staged(ranking, found, question)
    order = np.lexsort((-fused, found.deeper)).tolist()
    if near.any():
        fused[~near] = np.clip(fused[~near], 0, fused[near].min())
    return order, fused


def _staged(ranking: Ranking, found: Candidates, question: Vectors) -> Floats:
    """The scores of those that are not deeper, with the stages that need their vectors."""
    near = ~found.deeper
    assert found.vectors is not None
    vectors = found.vectors[near]
    centres, place = _centres(vectors, found.documents[near])
    means = np.bincount(place, found.bm25[near]) / np.bincount(place)
    words = (1 - ranking.document) * found.bm25[near] + ranking.document * means[place]
    lexical = _Scale.of(ranking.scale, words, ranking.share)

    def fused(asked: Vectors) -> tuple[Floats, float]:
        """The sum of both, and what a passage that led in both would have."""
        own, document = vectors @ asked, (centres @ asked)[place]
        cosines = ((1 - ranking.document) * own + ranking.document * document).astype(np.float64)
        semantic = _Scale.of(ranking.scale, cosines, 1 - ranking.share)
        return lexical(words) + semantic(cosines), _whole(lexical, semantic)

    total, whole = fused(question)
    if ranking.feedback:
        total, whole = fused(_leaning(question, vectors, total, ranking))
    return total / whole


def _leaning(question: Vectors, vectors: Vectors, fused: Floats, ranking: Ranking) -> Vectors:
    """The question's vector with its share of the first passages', which weigh by the exponential of their scores."""
    first = np.argsort(-fused, kind="stable")[: ranking.feedback_passages]
    weights = np.exp(fused[first] - fused[first[0]])
    mean = (weights / weights.sum()) @ vectors[first]
    mixed = (1 - ranking.feedback) * question + ranking.feedback * mean
    unit: Vectors = (mixed / max(float(np.linalg.norm(mixed)), 1e-9)).astype(np.float32)
    return unit


def _centres(vectors: Vectors, documents: npt.NDArray[np.int64]) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """The direction of each document, shape (documents, dimensions), and the place of each passage's own."""
    distinct, place = np.unique(documents, return_inverse=True)
    sums = np.zeros((len(distinct), vectors.shape[1]), np.float32)
    np.add.at(sums, place, vectors)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9), place


@dataclass(frozen=True, slots=True)
class _Scale:
    """Takes a value above ``low`` to what it adds to a score; ``most``: what the highest adds."""

    low: float
    factor: float
    most: float

    @classmethod
    def of(cls, scale: str, values: Floats, share: float) -> _Scale:
        if len(values) == 0:
            return cls(0.0, 0.0, 0.0)
        low, high = float(values.min()), float(values.max())
        unit = high - low if scale == "range" else float(values.std())
        factor = share / unit if unit > 1e-12 else 0.0
        return cls(low, factor, factor * (high - low))

    def __call__(self, values: Floats) -> Floats:
        return (values - self.low) * self.factor


def _whole(*scales: _Scale) -> float:
    """The score of a passage that leads in both, which counts as 1."""
    return max(sum(scale.most for scale in scales), 1e-9)


def words_of(title: str, headings: tuple[str, ...], text: str) -> tuple[str, ...]:
    """What two passages share that are copies of each other: the words of the text in any order; those of the title
    and the headings, too, where the text is short ("The lead is Ana." says another thing under each title)."""
    words = sorted(_WORD.findall(text.casefold()))
    if len(words) < LONG:
        words += ["", *_WORD.findall(" ".join([title, *headings]).casefold())]
    return tuple(words)
