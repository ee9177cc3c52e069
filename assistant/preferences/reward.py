"""How good an answer is, learned from which of two answers people preferred: Bradley-Terry over what can be counted.

Each feature is a share, or a logarithm of a count, that a person could name. The length is fitted, so that it takes its
blame off the others, and held equal where candidates are ranked: a model that is rewarded for length writes long.
Before anybody has voted, ``BEGINNING`` stands: that an answer is held by its passages, covers the question and does not
repeat itself. What people prefer is fitted as what is left beyond that, so that few votes change little of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.errors import AlmanacError
from assistant.knowledge.lexical import plain_terms
from assistant.preferences.stored import restored
from ml.week07_alignment import preference

Floats = npt.NDArray[np.float64]

VERSION = 1
PRIOR = 3.0
VOTER_LIMIT = 8.0
ROUNDS = 3  # of weighing the voters by how well they agree
LENGTH = "log length"
NAMES = (
    "support", "unsupported numbers", "coverage", "echo", "cited", "sources", "hedges", "apology", "asks back",
    "yes or no", "repeats", "list", "numbers", "new words", "speaks of itself", "you", "sentence length", LENGTH,
)  # fmt: skip
BEGINNING = {
    "support": 4.0, "unsupported numbers": -2.0, "coverage": 2.0, "cited": 1.0, "hedges": -0.5, "apology": -0.5,
    "asks back": -0.5, "repeats": -3.0,
}  # fmt: skip
_MARKER = re.compile(r"\[\d+\]")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"\w[\w'’]*")
_NUMBER = re.compile(r"\d[\d.,:]*")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|might|may be|i think|i believe|i guess|probably|it seems|not sure|not certain|"
    r"unclear|i don['’]t know|not able to|i can['’]t|i cannot|unable to)\b",
    re.IGNORECASE,
)
_APOLOGY = re.compile(r"\b(?:sorry|apologi[sz]e|unfortunately|i['’]m afraid)\b", re.IGNORECASE)
_SELF = frozenset("i i'm i’m i've i’ve i'd i’d i'll i’ll me my".split())
_YOU = frozenset("you your you're you’re you'll you’ll yours yourself".split())


class BadReward(AlmanacError):
    """What should hold a reward model does not; the message says why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to ``question``; ``passages``: the texts that it was written from, in the order of its numbers."""

    question: str
    text: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preferred:
    """``better`` was preferred to ``worse`` by ``voter``; both answer one question."""

    better: Candidate
    worse: Candidate
    voter: str
    weight: float = 1.0


def features(candidate: Candidate) -> Floats:
    """One number for each of ``NAMES``, shape (features,)."""
    text = _MARKER.sub("", candidate.text)
    words = [word.casefold() for word in _WORD.findall(text)]
    terms, asked = plain_terms(text), set(plain_terms(candidate.question))
    known = {term for passage in candidate.passages for term in plain_terms(passage)}
    numbers = set(_NUMBER.findall(text))
    told = {number for passage in (*candidate.passages, candidate.question) for number in _NUMBER.findall(passage)}
    sentences = [found for found in _SENTENCE.findall(text) if _WORD.search(found)]
    pairs = list(pairwise(words))
    return np.array(
        [
            _share(sum(term in known for term in terms), len(terms)) if known else 0.0,
            _share(len(numbers - told), len(numbers)) if known else 0.0,
            _share(len(asked & set(terms)), len(asked)),
            _share(sum(term in asked for term in terms), len(terms)),
            _share(sum(bool(_MARKER.search(one)) for one in _SENTENCE.findall(candidate.text)), len(sentences)),
            math.log1p(len(set(_MARKER.findall(candidate.text)))),
            math.log1p(len(_HEDGE.findall(text))),
            float(bool(_APOLOGY.search(text))),
            float(text.rstrip().endswith("?")),
            float(bool(re.match(r"\W*(?:no|yes)\b", text, re.IGNORECASE))),
            1 - _share(len(set(pairs)), len(pairs)) if pairs else 0.0,
            math.log1p(len(_ITEM.findall(text))),
            math.log1p(len(numbers)),
            _share(len(set(terms) - asked), len(terms)),
            _share(sum(word in _SELF for word in words), len(words)),
            _share(sum(word in _YOU for word in words), len(words)),
            math.log1p(_share(len(words), len(sentences))),
            math.log1p(len(text)),
        ]
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Reward:
    """``weights``: log-odds a unit of each of ``NAMES``. ``pairs``: how many preferences it was learned from."""

    weights: Floats
    pairs: float = 0.0

    @classmethod
    def beginning(cls) -> Reward:
        """Before anybody has voted."""
        return cls(np.array([BEGINNING.get(name, 0.0) for name in NAMES]))

    def scores(self, candidates: Sequence[Candidate], *, length: bool = False) -> Floats:
        """Log-odds strength of each answer to one question, shape (candidates,); only differences mean something.

        ``length``: whether a longer one is better for being longer, as people say when they compare two.
        """
        found = np.stack([features(candidate) for candidate in candidates])
        if not length:
            found[:, NAMES.index(LENGTH)] = 0.0
        scores: Floats = found @ self.weights
        return scores

    def to_json(self) -> str:
        weights = dict(zip(NAMES, self.weights.tolist(), strict=True))
        return json.dumps({"version": VERSION, "weights": weights, "pairs": self.pairs}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Reward:
        """What ``to_json`` wrote; raises ``BadReward`` for anything else."""
        return restored(text, VERSION, cls._of, "The reward model", BadReward)

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> Reward:
        if set(data["weights"]) != set(NAMES):
            raise ValueError("it rests on other features than this version knows")
        weights = np.array([float(data["weights"][name]) for name in NAMES])
        if not np.isfinite(weights).all():
            raise ValueError("a weight is not a number")
        return cls(weights, float(data["pairs"]))


def load(path: Path | None) -> Reward:
    """The reward model of a file; without one, the beginning's. Raises ``BadReward``."""
    if path is None:
        return Reward.beginning()
    try:
        return Reward.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadReward(f"The reward model {path} cannot be read: {error}.") from error


def fit(preferred: Sequence[Preferred], prior: float = PRIOR) -> Reward:
    """What people prefer, beyond ``BEGINNING``; raises ``ValueError`` where nothing was compared."""
    if not preferred:
        raise ValueError("Nothing was compared: there is nothing to learn from.")
    better, worse = (np.stack([features(getattr(one, side)) for one in preferred]) for side in ("better", "worse"))
    own = np.array([one.weight for one in preferred], dtype=np.float64)
    voters = [one.voter for one in preferred]
    known = (better - worse) @ Reward.beginning().weights
    weights = preference.limit_voters(voters, own, VOTER_LIMIT)
    for _ in range(ROUNDS):
        model = preference.fit(better, worse, weights, names=NAMES, prior=prior, offset=known)
        margin = known + model.score(better) - model.score(worse)
        trusted = own * preference.reliability(voters, preference.sigmoid(margin))
        if not trusted.any():
            break  # nobody is believed: the model before stands
        weights = preference.limit_voters(voters, trusted, VOTER_LIMIT)
    return Reward(Reward.beginning().weights + model.coefficients, float(weights.sum()))
