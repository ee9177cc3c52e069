"""From votes to an order of passages, conditioned on the question, in log-odds that may be added to a ranking's score.

    features   Bradley-Terry over ``features.NAMES``, from week 7 of ``ml``: what people prefer, whatever is asked
    memory     a passage that was rated for a question leans up or down for questions near it (``memory``)
    lean       where a question's passages lie, seen from the question (``lean``)

The memory's support is one more feature, learned with each question's own votes left out, so that it earns its
coefficient. Features are fitted twice: ``whole`` says which passage people prefer when they see two; ``rest`` only what
the ranking's own score has not said yet; the lean is fitted on what both have not said. Little data moves little (a
normal prior round no effect), a cap bounds what all votes together may do, a voter weighs at most ``VOTER_LIMIT``, and
one who contradicts the others nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from assistant.errors import AlmanacError
from assistant.preferences import lean
from assistant.preferences.features import LENGTH, NAMES, Asked, Floats, Shown, rows
from assistant.preferences.lean import Differences, Lean
from assistant.preferences.memory import Memory, Rating
from ml.week07_alignment import preference

VERSION = 1
PRIOR = 3.0  # as heavy as the first 12 votes
VOTER_LIMIT = 8.0  # what the votes of one voter weigh together
ROUNDS = 3  # of weighing the voters by how well they agree
CAP = 3.0  # log-odds that all votes together may move a passage, either way
SCORE = 10.0  # log-odds a unit of the ranking's score
PER_LOG_ODDS = 1 / SCORE  # of the ranking's score, that a log-odds of what was learned moves
SUPPORT = "support of near votes"
SCORED = "score"
REST = ("title overlap", LENGTH, SUPPORT)  # what the ranking's score does not hold already


class BadLearned(AlmanacError):
    """What should hold what was learned does not; the message says why."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """For ``asked``, ``better`` was preferred to ``worse`` by ``voter``. ``passed``: nobody judged ``worse``; it stood
    beside ``better``, or above it, when that was chosen."""

    asked: Asked
    better: Shown
    worse: Shown
    voter: str
    weight: float = 1.0
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned. ``memory`` gives the last of the models' features. ``embedder``: the name of the model whose
    vectors and tokens it was learned with; with another's it means nothing."""

    whole: preference.PreferenceModel
    rest: preference.PreferenceModel
    lean: Lean
    memory: Memory
    embedder: str = ""

    def scores(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        """Log-odds strength of each passage for a question, shape (passages,); only differences mean something."""
        return self.whole.score(self._features(asked, shown)) + _leaning(self.lean, asked, shown)

    def moves(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        """What may be added to the ranking's scores, in log-odds within ``CAP`` of the median, shape (passages,); each
        passage as long as the others.

        People rate what says more higher, whichever passage answers. Fitted, the length takes that blame off the other
        features; left in the order, it would lift long passages over fitting ones.
        """
        if not shown:
            return np.zeros(0)
        features = self._features(asked, shown)
        features[:, NAMES.index(LENGTH)] = 0.0
        return preference.bounded(self.rest.score(_rest(features)) + _leaning(self.lean, asked, shown), CAP)

    def _features(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        support = self.memory.support(asked.vector, [one.text for one in shown])
        return np.column_stack([rows(asked, shown), support])

    def effects(self) -> dict[str, float]:
        """Feature -> log-odds a unit, of what may be added to the ranking."""
        return dict(zip(self.rest.names, self.rest.coefficients.tolist(), strict=True))

    def to_json(self) -> str:
        """One line of JSON; ``from_json`` gives back exactly the same."""
        fields = {
            "version": VERSION,
            "embedder": self.embedder,
            "whole": json.loads(self.whole.to_json()),
            "rest": json.loads(self.rest.to_json()),
            "lean": self.lean.document(),
            "memory": self.memory.document(),
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Learned:
        """What ``to_json`` wrote; raises ``BadLearned`` for anything else."""
        try:
            data = json.loads(text)
            if data["version"] != VERSION:
                raise ValueError(f"it is of version {data['version']!r}, and {VERSION} is known")
            whole, rest = (preference.PreferenceModel.from_json(json.dumps(data[name])) for name in ("whole", "rest"))
            if whole.names != (*NAMES, SUPPORT) or rest.names != REST:
                raise ValueError("it rests on other features than this version knows")
            return cls(whole, rest, Lean.of(data["lean"]), Memory.of(data["memory"]), str(data["embedder"]))
        except KeyError as error:
            raise BadLearned(f"What was learned from votes cannot be read: it has no {error.args[0]}.") from error
        except (TypeError, AttributeError, ValueError) as error:
            raise BadLearned(f"What was learned from votes cannot be read: {error}.") from error


def _leaning(found: Lean, asked: Asked, shown: Sequence[Shown]) -> Floats:
    """Nothing where a passage's vector is not known, or is another model's: it would be unfair to it."""
    vectors = [one.vector for one in shown if one.vector is not None and one.vector.shape == (len(found.map),)]
    if len(vectors) < len(shown) or asked.vector.shape != (len(found.map),):
        return np.zeros(len(shown))
    return found.moves(asked.vector, np.stack(vectors))


def learn(comparisons: Sequence[Comparison], embedder: str = "", prior: float = PRIOR) -> Learned:
    """Fit all of it; raises ``ValueError`` without a comparison."""
    if not comparisons:
        raise ValueError("Nothing was compared: there is nothing to learn from.")
    comparisons = sorted(comparisons, key=lambda one: one.asked.text)  # those of one question stand together
    groups = [list(found) for _, found in groupby(comparisons, key=lambda one: one.asked.text)]
    vectors = np.stack([group[0].asked.vector for group in groups])
    better, worse = _both(groups)
    weights = _weights(comparisons, better, worse, prior)
    place = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    memory = Memory(vectors, _ratings(comparisons, weights, place.tolist()))
    better, worse = (
        np.column_stack([side, support])
        for side, support in zip((better, worse), _supports(memory, groups), strict=True)
    )
    names = (*NAMES, SUPPORT)
    lead = np.array([one.better.score - one.worse.score for one in comparisons])
    slope = preference.fit(lead[:, None], np.zeros((len(lead), 1)), weights, names=(SCORED,), prior=prior)
    lead = lead * slope.coefficients
    told = np.array([not one.passed for one in comparisons])
    told = told if weights[told].any() else np.ones_like(told)
    whole = preference.fit(better[told], worse[told], weights[told], names=names, prior=prior)
    rest = preference.fit(_rest(better), _rest(worse), weights, names=REST, prior=prior, offset=lead)
    known = lead + rest.score(_rest(better)) - rest.score(_rest(worse))
    return Learned(whole, rest, _lean(comparisons, vectors, place, known, weights), memory, embedder)


def _rest(features: Floats) -> Floats:
    """The columns that ``rest`` is fitted on."""
    rest: Floats = features[:, [(*NAMES, SUPPORT).index(name) for name in REST]]
    return rest


def _lean(
    comparisons: Sequence[Comparison],
    vectors: lean.Vectors,
    place: npt.NDArray[np.int64],
    known: Floats,
    weights: Floats,
) -> Lean:
    sides = [(one.better.vector, one.worse.vector) for one in comparisons]
    between = [better - worse for better, worse in sides if better is not None and worse is not None]
    if len(between) < len(sides):
        return Lean.none()
    return lean.fitted(Differences(vectors, place, np.stack(between), known, weights))


def _both(groups: Sequence[Sequence[Comparison]]) -> tuple[Floats, Floats]:
    """The features of better and of worse, shape (comparisons, features) each."""
    better = [rows(group[0].asked, [one.better for one in group]) for group in groups]
    worse = [rows(group[0].asked, [one.worse for one in group]) for group in groups]
    return np.concatenate(better), np.concatenate(worse)


def _supports(memory: Memory, groups: Sequence[Sequence[Comparison]]) -> tuple[Floats, Floats]:
    """The memory's support of better and of worse, the question's own ratings left out."""
    found = []
    for place, group in enumerate(groups):
        texts = [text for one in group for text in (one.better.text, one.worse.text)]
        found.append(memory.support(group[0].asked.vector, texts, without=place).reshape(-1, 2))
    both = np.concatenate(found)
    return both[:, 0], both[:, 1]


def _weights(comparisons: Sequence[Comparison], better: Floats, worse: Floats, prior: float) -> Floats:
    """What each comparison counts, once each voter is limited and weighed by how well they agree with the others."""
    voters = [one.voter for one in comparisons]
    own = np.array([one.weight for one in comparisons], dtype=np.float64)
    weights = preference.limit_voters(voters, own, VOTER_LIMIT)
    for _ in range(ROUNDS):
        model = preference.fit(better, worse, weights, names=NAMES, prior=prior)
        trusted = own * preference.reliability(voters, model.probability(better, worse))
        if not trusted.any():
            break  # nobody is believed: the weights before stand
        weights = preference.limit_voters(voters, trusted, VOTER_LIMIT)
    return weights


def _ratings(comparisons: Sequence[Comparison], weights: Floats, place: Sequence[int]) -> list[Rating]:
    found = []
    for one, weight, question in zip(comparisons, weights.tolist(), place, strict=True):
        if weight > 0:
            found.append(Rating(question, one.better.text, weight))
            found += [] if one.passed else [Rating(question, one.worse.text, -weight)]
    return found
