"""Whether what was found is good enough to answer from: a small logistic model, calibrated on data.

``python -m bench.calibrate`` fits the weights and draws the calibration; `benchmarks.md` holds what it showed.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from assistant.knowledge.search import SearchResult

LEAST_COSINE = 0.2
RELEVANT_COSINE = 0.35  # nine of ten right passages of SciFact, FeedbackQA and MTRAG lie nearer than that
SURE_COSINE = 0.5  # of the best passage, before anybody is answered who did not ask us
SURE = 0.75  # the probability that such an answer needs, where the model tells one

BIAS = -4.75
WEIGHTS = (3.86, 4.27, 0.53, 3.64)  # in the order of Evidence's fields
THRESHOLD = 0.48


@dataclass(frozen=True, slots=True)
class Evidence:
    """How near the documents come to the question; each number in about 0..1.

    ``passage``: the best passage's cosine. ``unit``: the best sentence's, among those that hold the kind of answer
    asked for. ``terms``: the share of the question's term weight (idf) that the first passage holds. ``lead``: how far
    the first passage is ahead of the field.
    """

    passage: float
    unit: float
    terms: float
    lead: float


def probability(evidence: Evidence) -> float:
    """That the documents answer the question."""
    value = BIAS + sum(weight * value for weight, value in zip(WEIGHTS, astuple(evidence), strict=True))
    return 1 / (1 + math.exp(-value))


def worth_asking(result: SearchResult) -> bool:
    """A loose gate before a language model is called: it refuses only what is plainly not in the documents."""
    return _best_cosine(result) >= LEAST_COSINE


def worth_speaking_up(result: SearchResult) -> bool:
    """The same for a question that was not put to us, before it costs a model call: it wants a passage that is near."""
    return _best_cosine(result) >= SURE_COSINE


def _best_cosine(result: SearchResult) -> float:
    return max((hit.cosine for hit in result.hits), default=0.0)
