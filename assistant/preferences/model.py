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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.errors import AlmanacError
from assistant.preferences import lean
from assistant.preferences.features import BEYOND, HELD, LENGTH, NAMES, SCORE, TITLE, Asked, Floats, Shown, rows
from assistant.preferences.lean import Differences, Lean
from assistant.preferences.memory import Memory, Rating
from assistant.preferences.stored import restored
from ml.week07_alignment import preference

VERSION = 1
PRIOR = 3.0  # as heavy as the first 12 votes
VOTER_LIMIT = 8.0  # what the votes of one voter weigh together
ROUNDS = 3  # of weighing the voters by how well they agree
CAP = 3.0  # log-odds that all votes together may move a passage, either way
SUPPORT = "support of near votes"
MOST_SUPPORT = 2.0  # log-odds that a memory of nothing but praise may move a passage; one vote half as much
WHOLE = (SCORE, HELD, BEYOND, LENGTH)
REST = (TITLE, LENGTH, SUPPORT)  # what the ranking's score does not hold already, and ratings say alike everywhere


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
    """What was learned. ``memory`` gives the last of ``rest``'s features. ``embedder``: the name of the model whose
    vectors and tokens it was learned with; with another's it means nothing."""

    whole: preference.PreferenceModel
    rest: preference.PreferenceModel
    lean: Lean
    memory: Memory
    embedder: str = ""

    def scores(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        """Log-odds strength of each passage for a question, shape (passages,); only differences mean something."""
        return self.whole.score(rows(asked, shown, WHOLE)) + _leaning(self.lean, asked, shown)

    def moves(self, asked: Asked, shown: Sequence[Shown]) -> Floats:
        """What may be added to the ranking's scores, in log-odds within ``CAP`` of the median, shape (passages,); each
        passage as long as the others.

        People rate what says more higher, whichever passage answers. Fitted, the length takes that blame off the other
        features; left in the order, it would lift long passages over fitting ones.
        """
        if not shown:
            return np.zeros(0)
        support = self.memory.support(asked.vector, [one.text for one in shown])
        features = np.column_stack([rows(asked, shown, REST[:-1]), support])
        features[:, REST.index(LENGTH)] = 0.0
        return preference.bounded(self.rest.score(features) + _leaning(self.lean, asked, shown), CAP)

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
        return restored(text, VERSION, cls._of, "What was learned from votes", BadLearned)

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> Learned:
        whole, rest = (preference.PreferenceModel.from_json(json.dumps(data[name])) for name in ("whole", "rest"))
        if whole.names != WHOLE or rest.names != REST:
            raise ValueError("it rests on other features than this version knows")
        return cls(whole, rest, Lean.of(data["lean"]), Memory.of(data["memory"]), str(data["embedder"]))


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
    told = np.array([not one.passed for one in comparisons])
    told = told if weights[told].any() else np.ones_like(told)
    whole = _fit(better[told], worse[told], weights[told], WHOLE, prior)
    slope = _fit(better, worse, weights, (SCORE,), prior)
    lead = _margin(slope, better, worse)
    rest = _remembering(_fit(better, worse, weights, REST, prior, lead))
    known = lead + _margin(rest, better, worse)
    return Learned(whole, rest, _lean(comparisons, vectors, place, known, weights), memory, embedder)


def _remembering(rest: preference.PreferenceModel) -> preference.PreferenceModel:
    """With a coefficient of the memory's support that may be: it was learned with each question's own votes left out,
    where little differs, so that it can come out as anything; on the own votes it would be turned against them."""
    believed = rest.coefficients.copy()
    believed[REST.index(SUPPORT)] = np.clip(believed[REST.index(SUPPORT)], 0.0, MOST_SUPPORT)
    return replace(rest, coefficients=believed)


def _fit(
    better: Floats, worse: Floats, weights: Floats, names: tuple[str, ...], prior: float, known: Floats | None = None
) -> preference.PreferenceModel:
    sides = _columns(better, names), _columns(worse, names)
    return preference.fit(
        *sides, weights, names=names, prior=prior, offset=known, tolerance=_tolerance(weights)
    )  # fmt: skip


def _tolerance(weights: Floats) -> float:
    """Of the gradient per unit of weight; where hardly anybody is believed, no finer than rounding lets it be."""
    return 1e-8 / min(1.0, float(weights.sum()))


def _margin(model: preference.PreferenceModel, better: Floats, worse: Floats) -> Floats:
    """Log-odds that better wins, shape (comparisons,)."""
    return model.score(_columns(better, model.names)) - model.score(_columns(worse, model.names))


def _columns(features: Floats, names: tuple[str, ...]) -> Floats:
    """Those of ``names``, of columns in the order of ``NAMES`` with the memory's support behind them."""
    known = (*NAMES, SUPPORT)
    chosen: Floats = features[:, [known.index(name) for name in names]]
    return chosen


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
        model = preference.fit(better, worse, weights, names=NAMES, prior=prior, tolerance=_tolerance(weights))
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
