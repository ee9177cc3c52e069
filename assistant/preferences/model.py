"""From votes to an order of passages: global features, and a memory of how near questions' passages were rated.

    features   Bradley-Terry over ``features.NAMES``, from week 7 of ``ml``: what people prefer, whatever is asked
    memory     a passage that was rated for a question leans up or down for questions near it (a kernel of the cosine)

Both are logarithms of odds in one model: the memory's support is one more feature, learned with each voter's own votes
left out, so that it earns its coefficient. Little data moves little (a normal prior round no effect), a cap bounds
what all votes together may do, a voter weighs at most ``VOTER_LIMIT``, and one who contradicts the others nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assistant.preferences.features import LENGTH, NAMES
from ml.week07_alignment import preference

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

PRIOR = 3.0  # as heavy as the first 12 votes
VOTER_LIMIT = 8.0  # what the votes of one voter weigh together
ROUNDS = 3  # of weighing the voters by how well they agree
NEAR = 0.5  # cosine under which a voted question says nothing of another
SHRINKAGE = 1.0  # near votes that say nothing, added to those there are
CAP = 3.0  # log-odds that all votes together may move a passage, either way
SUPPORT = "support of near votes"


@dataclass(frozen=True, slots=True)
class Comparison:
    """For ``question`` (a row of the questions' vectors), ``better`` was preferred to ``worse`` by ``voter``."""

    question: int
    better: str
    worse: str
    voter: str
    weight: float = 1.0


class Memory:
    """How passages were rated for questions: content key -> the votes on it.

    ``vectors``: the voted questions', of length 1, shape (questions, dimensions).
    """

    def __init__(self, vectors: Vectors, comparisons: Sequence[Comparison], weights: Floats) -> None:
        """``weights``: what each comparison counts, shape (comparisons,)."""
        self._vectors = vectors
        votes: dict[str, list[tuple[int, float]]] = {}
        for one, weight in zip(comparisons, weights.tolist(), strict=True):
            if weight > 0:
                votes.setdefault(one.better, []).append((one.question, weight))
                votes.setdefault(one.worse, []).append((one.question, -weight))
        self._votes = {
            key: (np.array([place for place, _ in found]), np.array([value for _, value in found]))
            for key, found in votes.items()
        }

    def support(self, vector: Vectors, keys: Sequence[str], without: int | None = None) -> Floats:
        """-1..1 for each passage, shape (keys,): the mean of its votes, by how near their questions are.

        ``without``: a voted question whose own votes are left out.
        """
        found = np.zeros(len(keys))
        for place, key in enumerate(keys):
            if key not in self._votes:
                continue
            questions, values = self._votes[key]
            near = np.maximum(self._vectors[questions] @ vector - NEAR, 0.0) / (1 - NEAR)
            if without is not None:
                near = np.where(questions == without, 0.0, near)
            found[place] = float(near @ values) / (float(near @ np.abs(values)) + SHRINKAGE)
        return found


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned. ``memory`` gives the last of the model's features."""

    model: preference.PreferenceModel
    memory: Memory

    def scores(self, features: Floats, vector: Vectors, keys: Sequence[str]) -> Floats:
        """Log-odds strength of each candidate for a question, shape (candidates,); only differences mean something."""
        support = self.memory.support(vector, keys)
        return self.model.score(np.column_stack([features, support]))

    def moves(self, features: Floats, vector: Vectors, keys: Sequence[str]) -> Floats:
        """What may be added to a ranking: the strength, each passage as long as the others, within ``CAP`` of the
        median.

        People rate what says more higher, whichever passage answers. Fitted, the length takes that blame off the other
        features; left in the order, it would lift long passages over fitting ones.
        """
        alike = features.copy()
        alike[:, NAMES.index(LENGTH)] = 0.0
        return preference.bounded(self.scores(alike, vector, keys), CAP)

    def effects(self) -> dict[str, float]:
        """Feature -> log-odds a unit."""
        return dict(zip(self.model.names, self.model.coefficients.tolist(), strict=True))


def learn(
    comparisons: Sequence[Comparison],
    vectors: Vectors,
    features: Mapping[tuple[int, str], Floats],
    prior: float = PRIOR,
) -> Learned:
    """Fit all of it; raises ``ValueError`` without a comparison.

    ``vectors``: of the questions, shape (questions, dimensions). ``features``: (question, content key) -> a row.
    """
    if not comparisons:
        raise ValueError("Nothing was compared: there is nothing to learn from.")
    voters = [one.voter for one in comparisons]
    own = np.array([one.weight for one in comparisons], dtype=np.float64)
    better = np.stack([features[one.question, one.better] for one in comparisons])
    worse = np.stack([features[one.question, one.worse] for one in comparisons])
    weights = preference.limit_voters(voters, own, VOTER_LIMIT)
    model = preference.fit(better, worse, weights, names=NAMES, prior=prior)
    for _ in range(ROUNDS):
        trusted = own * preference.reliability(voters, model.probability(better, worse))
        if not trusted.any():
            break  # nobody is believed: the model before stands
        weights = preference.limit_voters(voters, trusted, VOTER_LIMIT)
        model = preference.fit(better, worse, weights, names=NAMES, prior=prior)
    memory = Memory(vectors, comparisons, weights)
    supports = [
        memory.support(vectors[one.question], (one.better, one.worse), without=one.question) for one in comparisons
    ]
    both = np.array(supports)
    model = preference.fit(
        np.column_stack([better, both[:, 0]]),
        np.column_stack([worse, both[:, 1]]),
        weights,
        names=(*NAMES, SUPPORT),
        prior=prior,
    )
    return Learned(model, memory)
