"""From votes to pairs of passages: which one helped more, and how much that is to be believed.

    thumb up      what was cited was better than what the model was shown and left; and, with less weight, than what was
                  found and not shown
    thumb down    the other way round, with less weight: the text may be to blame (``reasons``), and what was not
                  shown is not known to be any better
    no vote       says nothing: silence is no thumb, and an answer that cites nothing has nothing to prefer

Models cite what stands first more readily than it deserves. So a passage that was cited far down counts for more than
one at the top, by the inverse of its place's propensity (Joachims et al. 2017), at most ``CLIP`` times; and one that
was left far down counts for less, because it may not have been read. The propensity is rank to the power of minus
``eta``, which is estimated from passages that stood in several places (``estimate_eta``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from assistant.preferences.reasons import blame

Floats = npt.NDArray[np.float64]
# better, worse, its share of the opinion, what corrects its place
Drawn = list[tuple[Hashable, Hashable, float, float]]

UP, DOWN = 1.0, 0.35  # what a thumb weighs
UNSEEN = 0.25  # a passage that was not shown, beside one that was shown first, and left
MOST_UNSEEN = 3  # the first of them: the others say the same again
CLIP = 4.0
ETA, ETA_DEVIATION = 0.4, 0.3  # before there are data
ROUNDS = 25


@dataclass(frozen=True, slots=True)
class Place:
    """A passage as it stood in the order that was shown. ``key``: what it is known by now. ``rank`` counts from 1;
    ``shown``: to the model; ``cited``: by its answer."""

    key: Hashable
    rank: int
    shown: bool
    cited: bool


@dataclass(frozen=True, slots=True)
class Opinion:
    """One person's thumb on one answer. ``question``: what was asked, among whom, as other opinions on it name it, too;
    ``topic``: what was asked, whoever reads the answer."""

    question: Hashable
    voter: str
    value: int
    at: datetime
    places: Sequence[Place]
    reason: str | None = None
    topic: Hashable = None

    @property
    def about(self) -> Hashable:
        return self.question if self.topic is None else self.topic

    @property
    def cited(self) -> list[Place]:
        return [place for place in self.places if place.cited]


@dataclass(frozen=True, slots=True)
class Pair:
    """For ``question``, ``better`` was preferred to ``worse`` by ``voter``. ``opinion``: its place in those given."""

    question: Hashable
    better: Hashable
    worse: Hashable
    voter: str
    weight: float
    opinion: int


def once(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Each voter's last word on each question: who asks again and again counts once."""
    last: dict[tuple[str, Hashable], Opinion] = {}
    for one in sorted(opinions, key=lambda opinion: opinion.at):
        last[one.voter, one.about] = one
    return sorted(last.values(), key=lambda opinion: opinion.at)


def propensity(rank: int, eta: float) -> float:
    """How readily a passage at this rank is cited, where the first is 1."""
    return float(np.exp(-eta * np.log(rank)))


def estimate_eta(opinions: Sequence[Opinion]) -> float:
    """How steeply citing falls with the rank, 0..1.5.

    Only from passages that stood at several ranks for one question and were cited at some of them: what they are worth
    is the same each time, and drops out (a conditional logit; the idea of Agarwal et al. 2019). A normal prior stands
    for what is not known yet.
    """
    seen: dict[tuple[Hashable, Hashable], list[tuple[float, bool]]] = defaultdict(list)
    for one in opinions:
        for place in one.places:
            if place.shown:
                seen[one.about, place.key].append((float(np.log(place.rank)), place.cited))
    differences: list[float] = []
    weights: list[float] = []
    for found in seen.values():
        cited, left = ([rank for rank, was in found if was is wanted] for wanted in (True, False))
        pairs = [low - high for high in cited for low in left if low != high]
        differences += pairs
        weights += [1 / max(len(cited), len(left))] * len(pairs)  # as much as there are looks at it
    return float(np.clip(_fitted(np.array(differences), np.array(weights)), 0.0, 1.5))


def _fitted(lead: Floats, weights: Floats) -> float:
    """The most probable eta, where the cited one of each pair stood higher by ``lead`` (in log ranks)."""
    eta, precision = ETA, ETA_DEVIATION**-2
    if not len(lead):
        return eta
    for _ in range(ROUNDS):
        surprise = 1 / (1 + np.exp(eta * lead))
        slope = weights @ (surprise * lead) - precision * (eta - ETA)
        curve = weights @ (surprise * (1 - surprise) * lead**2) + precision
        step = float(slope / curve)
        eta += step
        if abs(step) < 1e-9:
            break
    return eta


def fading(at: datetime, now: datetime, half_life_days: float) -> float:
    """What a vote still counts at its age, 0..1."""
    return float(2.0 ** (-max((now - at).total_seconds() / 86_400, 0.0) / half_life_days))


def pairs_of(opinions: Sequence[Opinion], now: datetime, half_life_days: float, eta: float | None = None) -> list[Pair]:
    """All pairs. An opinion's weigh about as much together as the opinion does, however many they are; it halves every
    ``half_life_days``."""
    eta = estimate_eta(opinions) if eta is None else eta
    boosts = _boosts(opinions, eta)
    found: list[Pair] = []
    for number, (one, boost) in enumerate(zip(opinions, boosts, strict=True)):
        weight = (UP if one.value > 0 else DOWN * blame(one.reason)) * fading(one.at, now, half_life_days)
        drawn = _up(one, eta, boost) if one.value > 0 else _down(one, eta, boost)
        whole = sum(share for _, _, share, _ in drawn)
        found += [
            Pair(one.question, better, worse, one.voter, weight * gain * share / whole, number)
            for better, worse, share, gain in drawn
            if weight * share > 0
        ]
    return found


def _up(one: Opinion, eta: float, boost: Mapping[Hashable, float]) -> Drawn:
    left = [place for place in one.places if not place.cited]
    beside = [(other, propensity(other.rank, eta)) for other in left if other.shown]
    beside += [(other, UNSEEN) for other in left if not other.shown][:MOST_UNSEEN]
    return [(cited.key, other.key, share, boost[cited.key]) for cited in one.cited for other, share in beside]


def _down(one: Opinion, eta: float, boost: Mapping[Hashable, float]) -> Drawn:
    return [
        (other.key, cited.key, propensity(other.rank, eta), boost[cited.key])
        for cited in one.cited
        for other in one.places
        if other.shown and not other.cited
    ]


def _boosts(opinions: Sequence[Opinion], eta: float) -> list[dict[Hashable, float]]:
    """What each cited passage counts for, by the inverse of its place's propensity: clipped, and 1 on average."""
    raw = [{place.key: min(1 / propensity(place.rank, eta), CLIP) for place in one.cited} for one in opinions]
    every = [value for found in raw for value in found.values()]
    mean = sum(every) / len(every) if every else 1.0
    return [{key: value / mean for key, value in found.items()} for found in raw]
