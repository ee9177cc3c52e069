"""Whether a passage supports a sentence: by its words, its numbers, its denials and the nearest sentence there.

A passage that holds the sentence word for word supports it. Otherwise the words that both hold and the cosine with the
nearest sentence say whether the two speak of the same; a number that stands nowhere in the passage, or a denial on one
side only, says that they do not say the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from assistant.knowledge.embedding import Embedder
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.sentences import split_units

COVERAGE, NEAREST, BIAS = 6.0, 4.0, -6.2  # of a logistic model
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_DENIAL = re.compile(
    r"\b(?:no|not|never|none|neither|nor|without|cannot|unable|kein\w*|nicht|nie|pas|jamais|aucune?|sin|nunca)\b|n['’]t\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[*_`|#>\\-]+")


class WordSupport:
    """Probabilities that the second text of each pair supports the first."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        open_ones = [pair for pair in dict.fromkeys(pairs) if not verbatim(*pair)]
        units = {passage: _units(passage) for _, passage in open_ones}
        texts = list(
            dict.fromkeys([*(claim for claim, _ in open_ones), *(u for found in units.values() for u in found)])
        )
        vectors = await self._embedder.embed(texts) if texts else np.zeros((0, 1), dtype=np.float32)
        place = {text: number for number, text in enumerate(texts)}
        scores = {}
        for claim, passage in open_ones:
            cosines = [float(vectors[place[unit]] @ vectors[place[claim]]) for unit in units[passage]]
            scores[claim, passage] = probability(claim, passage, dict(zip(units[passage], cosines, strict=True)))
        return [scores.get(pair, 1.0) for pair in pairs]


def verbatim(claim: str, passage: str) -> bool:
    """Whether the passage holds the claim word for word, marks of Markdown and spacing aside."""
    return _plain(claim) in _plain(passage)


def probability(claim: str, passage: str, cosines: Mapping[str, float]) -> float:
    """``cosines``: of the claim with each sentence of the passage."""
    terms = set(query_terms(claim))
    if not cosines or not terms or set(_NUMBER.findall(claim)) - set(_NUMBER.findall(passage)):
        return 0.0
    coverage = len(terms & set(query_terms(passage))) / len(terms)
    nearest = max(cosines, key=lambda unit: cosines[unit])
    if _denies(claim) != _denies(nearest) and _denies(claim) != _denies(passage):
        return 0.0
    return 1 / (1 + math.exp(-(COVERAGE * coverage + NEAREST * cosines[nearest] + BIAS)))


def _units(passage: str) -> list[str]:
    return [unit.text for unit in split_units(passage)]


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", text).casefold().split())


def _denies(text: str) -> bool:
    return len(_DENIAL.findall(text)) % 2 == 1
