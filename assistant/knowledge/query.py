"""A question with what it leans on: words that were said before count a little, beside its own. Pure maths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assistant.knowledge.lexical import query_terms

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Carried:
    """``terms``: what its terms count, where the question's own count 1; ``vector``: the same of its vector."""

    text: str
    terms: float
    vector: float


def weighted_terms(question: str, carried: Sequence[Carried] = ()) -> dict[int, float]:
    """Term -> what it counts for, ascending by term; a term that stands in several texts has its largest weight."""
    weights = dict.fromkeys(query_terms(question), 1.0)
    for part in carried:
        for term in query_terms(part.text):
            weights[term] = max(weights.get(term, 0.0), part.terms)
    return dict(sorted(weights.items()))


def mixed(question: Vector, others: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """The direction of the weighted sum of unit vectors of shape (dimensions,); of length 1."""
    total = question + sum((weight * vector for weight, vector in zip(weights, others, strict=True)), np.zeros(1))
    length = np.linalg.norm(total)
    return (total / length).astype(np.float32) if length > 0 else question
