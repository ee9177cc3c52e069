"""Knowledge gaps: questions that the documents left open, put together where they ask for the same thing.

Average-linkage clustering on the cosine distance of the questions' vectors (scipy): no number of clusters is given, and
questions that are like no other stay alone. A cluster is called by its most central question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assistant.database.insights import Unanswered
from assistant.knowledge.embedding import Vectors

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]  # texts to vectors of length 1, shape (texts, dimensions)
NEAR = 0.45  # cosine distance within which two clusters, on average, ask for the same


@dataclass(frozen=True, slots=True)
class Gap:
    """``questions``: the newest first; ``name`` is the one nearest to all the others."""

    name: str
    questions: tuple[Unanswered, ...]


async def gaps(embed: Embed, open_questions: Sequence[Unanswered]) -> list[Gap]:
    """The gaps, the one with most questions first, then the one asked about last."""
    if not open_questions:
        return []
    vectors = np.asarray(await embed([question.question for question in open_questions]), np.float32)
    labels = clusters(vectors)
    found = []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        mine = vectors[members]
        central = int(members[int(np.argmax(mine @ mine.sum(axis=0)))])
        questions = tuple(open_questions[int(index)] for index in members)
        found.append(Gap(open_questions[central].question, questions))
    return sorted(found, key=lambda gap: (-len(gap.questions), -gap.questions[0].at.timestamp()))


def clusters(vectors: npt.NDArray[np.float32], near: float = NEAR) -> npt.NDArray[np.int64]:
    """A label from 0 for each row (n, d) of unit length."""
    if len(vectors) == 1:
        return np.zeros(1, np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    distances = np.clip(1.0 - vectors @ vectors.T, 0.0, 2.0)
    condensed = distances[np.triu_indices(len(vectors), k=1)].astype(np.float64)
    labels: npt.NDArray[np.int64] = fcluster(linkage(condensed, "average"), near, "distance").astype(np.int64) - 1
    return labels
