"""The whole way from votes to the gate, with readers whose minds are known: what the real votes cannot show.

For the same questions, passages, voters and number of votes as there really are, readers are made up. Each passage has
a worth for its question that only they know: the ranking's score, and something it does not see (``HIDDEN``).
They read from the top as people and models do, each place less likely than the one above; what is best of what was read
is cited; the thumb follows its worth, some err, some always lie. Then all is learned and judged as ever.

    real     how far the learned order is better by the readers' own worth, and what the gate's estimate says of it
    noise    the same with thumbs by coin: the gate must refuse
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.knowledge.ranking import PER_LOG_ODDS
from assistant.preferences.gate import Evidence, base, judged, with_moves
from assistant.preferences.pairs import Opinion, Place, fading, pairs_of, propensity
from assistant.preferences.replay import Replay

HIDDEN = 4.0  # log-odds: how far passages differ by what the ranking does not see
SHOWN = 10
CITED = 2
ERRING, LYING = 0.1, 0.1  # of the thumbs; of the voters
SEED = 20_261_126

Floats = npt.NDArray[np.float64]


def simulate(evidence: Evidence, half_life_days: float, seed: int = SEED) -> dict[str, Any]:
    """What comes of simulated votes: ``{real: {known, estimated, interval, passed}, noise: {…}}``."""
    random = np.random.default_rng(seed)
    worth = {question: _worth(replay) for question, replay in evidence.replays.items()}
    found = {}
    for name in ("real", "noise"):
        made = _evidence(evidence, worth, half_life_days, random, by_coin=name == "noise")
        verdict = judged(made)
        learned = made.learn(made.counted)
        known = [
            _value(with_moves(learned)(replay), worth[question]) - _value(base(replay), worth[question])
            for question, replay in made.replays.items()
        ]
        held_out = verdict.held_out
        found[name] = {
            "known": round(float(np.mean(known)), 4) if known else 0.0,
            "estimated": round(held_out.mean, 4) if held_out else None,
            "interval": [round(held_out.low, 4), round(held_out.high, 4)] if held_out else None,
            "passed": verdict.passed, "refusal": verdict.refusal,
        }  # fmt: skip
    return found


def _worth(replay: Replay) -> Floats:
    """Log-odds that each passage helps: its score, and how far its title is the question's (which no score says)."""
    scores = replay.scores
    words = set(replay.asked.text.casefold().split())
    titles = np.array([
        len(words & set(f"{one.title} {' '.join(one.headings)}".casefold().split())) for one in replay.shown.values()
    ], dtype=np.float64)  # fmt: skip
    spread = titles.std() or 1.0
    worth: Floats = (scores - scores.mean()) / PER_LOG_ODDS + HIDDEN * (titles - titles.mean()) / spread
    return worth


def _evidence(
    evidence: Evidence, worth: dict[Hashable, Floats], half_life_days: float, random: np.random.Generator,
    by_coin: bool,
) -> Evidence:  # fmt: skip
    voters = sorted({one.voter for one in evidence.opinions})
    liars = set(random.permutation(voters)[: round(LYING * len(voters))].tolist())
    now = datetime.now(UTC)
    opinions = []
    for number in evidence.counted:
        one = evidence.opinions[number]
        places, good = _read(evidence.replays[one.question], worth[one.question], evidence.eta, random)
        up = good != (one.voter in liars) if random.random() >= ERRING else bool(random.integers(2))
        value = int(random.integers(2)) * 2 - 1 if by_coin else 1 if up else -1
        if by_coin:  # and what is cited has nothing to do with what is good
            places = _shuffled(places, random)
        opinions.append(Opinion(one.question, one.voter, value, one.at, places, None, one.topic))
    pairs = pairs_of(opinions, now, half_life_days, evidence.eta)
    return replace(
        evidence, opinions=opinions, pairs=pairs, fading=[fading(one.at, now, half_life_days) for one in opinions]
    )


def _read(replay: Replay, worth: Floats, eta: float, random: np.random.Generator) -> tuple[list[Place], bool]:
    """What is shown, of that what is read by its place, of that the best is cited; whether it is better than most."""
    keys = list(replay.shown)
    order = np.argsort(-base(replay), kind="stable").tolist()
    read = [place for rank, place in enumerate(order[:SHOWN], start=1) if random.random() < propensity(rank, eta)]
    felt = {place: worth[place] + random.logistic() / 2 for place in read or order[:1]}
    cited = sorted(felt, key=lambda place: -felt[place])[: 1 + int(random.integers(CITED))]
    places = [Place(keys[place], rank, rank <= SHOWN, place in cited) for rank, place in enumerate(order, start=1)]
    return places, bool(worth[cited[0]] >= np.quantile(worth, 0.7))


def _shuffled(places: list[Place], random: np.random.Generator) -> list[Place]:
    count = sum(place.cited for place in places)
    cited = set(random.permutation(min(SHOWN, len(places)))[:count].tolist())
    return [replace(place, cited=number in cited) for number, place in enumerate(places)]


def _value(scores: Floats, worth: Floats) -> float:
    """The discounted rank of what helps most."""
    rank = 1 + np.argsort(-scores, kind="stable").tolist().index(int(worth.argmax()))
    return float(1 / np.log2(1 + rank))
