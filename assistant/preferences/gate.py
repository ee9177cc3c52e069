"""Whether what was learned is a gain, told from votes that it was not learned from; what is no proven gain is refused.

An order is worth what the votes say of the passages that it puts first: for each thumb the cited passages' discounted
ranks (1 / log2(1 + rank)), for a thumb up; against, for a thumb down. A passage weighs by the inverse of its propensity
to be cited where it stood (clipped), and the sum is divided by the sum of the weights (self-normalised inverse
propensity scoring; Swaminathan & Joachims 2015). Both orders are put to the same votes, so that the gain is paired.

A question's votes are judged by a model that was learned without that question and those near it. The interval comes
from drawing the questions anew, and the voters anew; the wider of the two counts, so that neither one question nor one
person decides. It is looked at again every day: hence 99 in 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.knowledge.ranking import PER_LOG_ODDS
from assistant.preferences.model import Comparison, Learned, learn
from assistant.preferences.pairs import CLIP, DOWN, Opinion, Pair, propensity
from assistant.preferences.reasons import blame
from assistant.preferences.replay import Replay

LEAST_VOTES, LEAST_VOTERS, LEAST_QUESTIONS = 20, 3, 10
FADED = 0.1  # what counts less by its age says nothing of an order any more
CONFIDENCE = 0.99
FOLDS = 5
NEWEST = 0.3  # of the questions, by their last vote: judged by what the older ones taught
ALIKE = 0.9  # cosine: near enough to be one question
VOTER_MOST = 8.0  # what one voter's opinions weigh together when an order is judged
RESAMPLES = 4_000
SEED = 20_261_126

Floats = npt.NDArray[np.float64]
Order = Callable[[Replay], Floats]  # the score of each passage, in the replay's order


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything to learn from. ``replays``: by question; ``opinions`` are on these, and ``fading`` is what each still
    counts at its age, 0..1; ``pairs`` name opinions by their place. ``eta``: of the propensities."""

    replays: Mapping[Hashable, Replay]
    opinions: Sequence[Opinion]
    fading: Sequence[float]
    pairs: Sequence[Pair]
    eta: float
    embedding: str

    @property
    def voters(self) -> int:
        return len({self.opinions[pair.opinion].voter for pair in self.pairs})

    @property
    def counted(self) -> list[int]:
        """The opinions that some pair follows from."""
        return sorted({pair.opinion for pair in self.pairs})

    def learn(self, opinions: Sequence[int]) -> Learned | None:
        """From some of the opinions; None where nothing follows from them."""
        wanted = set(opinions)
        comparisons = [
            Comparison(replay.asked, replay.shown[str(pair.better)], replay.shown[str(pair.worse)], pair.voter,
                       pair.weight, passed=self.opinions[pair.opinion].value > 0)
            for pair in self.pairs
            if pair.opinion in wanted and (replay := self.replays[pair.question])
        ]  # fmt: skip
        return learn(comparisons, self.embedding) if comparisons else None


@dataclass(frozen=True, slots=True)
class Gain:
    """Of one order over another, in discounted ranks; ``low`` and ``high`` with ``CONFIDENCE``. ``before``, ``after``:
    the shares of pairs in the right order."""

    mean: float
    low: float
    high: float
    questions: int
    votes: int
    before: float = 0.0
    after: float = 0.0

    def document(self) -> dict[str, Any]:
        return {
            "gain": round(self.mean, 4), "interval": [round(self.low, 4), round(self.high, 4)],
            "questions": self.questions, "votes": self.votes,
            "pairs_in_order": {"before": round(self.before, 4), "after": round(self.after, 4)},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """``refusal`` is None where the gate is passed, else what stands in the way: the key of a sentence and its values.
    ``held_out``: by question; ``newest``: by time; None where there was too little to look at."""

    refusal: str | None
    values: Mapping[str, Any]
    held_out: Gain | None = None
    newest: Gain | None = None

    @property
    def passed(self) -> bool:
        return self.refusal is None


def base(replay: Replay) -> Floats:
    """The ranking without votes."""
    return replay.scores


def with_moves(learned: Learned | None) -> Order:
    """The ranking with what was learned."""
    if learned is None:
        return base
    return lambda replay: replay.scores + PER_LOG_ODDS * learned.moves(replay.asked, list(replay.shown.values()))


def judged(
    evidence: Evidence, in_force: Order = base, since: datetime | None = None, learned: Learned | None = None
) -> Verdict:
    """Put what can be learned from the evidence to the test against the order ``in_force``, on votes cast after
    ``since``: those that what is in force was not learned from. ``learned``: what all of the evidence taught; it must
    at least not turn against the votes that it was learned from."""
    fresh = [
        number
        for number in evidence.counted
        if evidence.fading[number] >= FADED and (since is None or evidence.opinions[number].at > since)
    ]
    counts = {
        "voters": (len({evidence.opinions[number].voter for number in fresh}), LEAST_VOTERS),
        "votes": (len(fresh), LEAST_VOTES),
        "questions": (len({evidence.opinions[number].question for number in fresh}), LEAST_QUESTIONS),
    }
    for name, (there, least) in counts.items():
        if there < least:
            return Verdict(f"few_{name}", {"there": there, "least": least})
    held_out = _held_out(evidence, fresh, in_force)
    newest = _newest(evidence, fresh, in_force)
    values = {"gain": f"{held_out.mean:+.3f}", "low": f"{held_out.low:+.3f}", "high": f"{held_out.high:+.3f}"}
    if held_out.low <= 0:
        return Verdict("no_gain", values, held_out, newest)
    if newest is not None and newest.high < 0:
        values = {"gain": f"{newest.mean:+.3f}", "low": f"{newest.low:+.3f}", "high": f"{newest.high:+.3f}"}
        return Verdict("worse_lately", values, held_out, newest)
    if learned is not None:
        order = with_moves(learned)
        own = compare(evidence, fresh, in_force, lambda question: order, clusters(evidence))
        if own.mean <= 0:
            return Verdict("against_its_votes", {"gain": f"{own.mean:+.3f}"}, held_out, newest)
    return Verdict(None, values, held_out, newest)


def _held_out(evidence: Evidence, fresh: Sequence[int], in_force: Order) -> Gain:
    """Each question judged by what the others taught."""
    group = clusters(evidence)
    fold = {question: number % FOLDS for question, number in group.items()}
    orders: dict[Hashable, Order] = {}
    for one in range(FOLDS):
        others = [number for number in evidence.counted if fold[evidence.opinions[number].question] != one]
        order = with_moves(evidence.learn(others))
        orders.update((question, order) for question, of in fold.items() if of == one)
    return compare(evidence, fresh, in_force, lambda question: orders[question], group)


def _newest(evidence: Evidence, fresh: Sequence[int], in_force: Order) -> Gain | None:
    """The questions that were voted on last, judged by what those before them taught."""
    group = clusters(evidence)
    last: dict[int, datetime] = {}
    for number in fresh:
        one = evidence.opinions[number]
        last[group[one.question]] = max(last.get(group[one.question], one.at), one.at)
    by_time = sorted(last, key=lambda cluster: last[cluster])
    newest = set(by_time[len(by_time) - round(NEWEST * len(by_time)) :])
    tested = [number for number in fresh if group[evidence.opinions[number].question] in newest]
    if not tested:
        return None
    taught = [number for number in evidence.counted if group[evidence.opinions[number].question] not in newest]
    order = with_moves(evidence.learn(taught))
    return compare(evidence, tested, in_force, lambda question: order, group)


def clusters(evidence: Evidence) -> dict[Hashable, int]:
    """Question -> the number of its cluster: those that are asked in other words belong together. In no order that has
    to do with time."""
    questions = sorted(evidence.replays, key=str)
    vectors = np.stack([evidence.replays[question].asked.vector for question in questions])
    leader: list[int] = []
    number: dict[Hashable, int] = {}
    for place, question in enumerate(questions):
        near = [one for one, first in enumerate(leader) if float(vectors[first] @ vectors[place]) >= ALIKE]
        if not near:
            leader.append(place)
        number[question] = near[0] if near else len(leader) - 1
    return number


def compare(
    evidence: Evidence, numbers: Sequence[int], before: Order, after: Callable[[Hashable], Order],
    group: Mapping[Hashable, int],
) -> Gain:  # fmt: skip
    """What the opinions with these numbers say of two orders."""
    opinions = [evidence.opinions[number] for number in numbers]
    ranks = {
        question: (_ranks(replay, before), _ranks(replay, after(question)))
        for question in {one.question for one in opinions}
        if (replay := evidence.replays[question])
    }
    limit = _limits(opinions)
    gains, weights = np.zeros(len(opinions)), np.zeros(len(opinions))
    for place, (number, one) in enumerate(zip(numbers, opinions, strict=True)):
        old, new = ranks[one.question]
        worth = 1.0 if one.value > 0 else -DOWN * blame(one.reason)
        for cited in one.cited:
            weight = evidence.fading[number] * limit[one.voter] * min(1 / propensity(cited.rank, evidence.eta), CLIP)
            gains[place] += weight * worth * (_discount(new[cited.key]) - _discount(old[cited.key]))
            weights[place] += weight
    low, high = _interval(gains, weights, [group[one.question] for one in opinions], [one.voter for one in opinions])
    wanted = set(numbers)
    right = [
        (pair.weight, *(of[pair.better] < of[pair.worse] for of in ranks[pair.question]))
        for pair in evidence.pairs
        if pair.opinion in wanted
    ]
    whole = sum(weight for weight, _, _ in right) or 1.0
    shares = [sum(weight for weight, *found in right if found[arm]) / whole for arm in (0, 1)]
    questions = len({one.question for one in opinions})
    return Gain(float(gains.sum() / weights.sum()), low, high, questions, len(opinions), *shares)


def _ranks(replay: Replay, order: Order) -> dict[Hashable, int]:
    """Key -> rank from 1."""
    keys = list(replay.shown)
    places = np.argsort(-order(replay), kind="stable").tolist()
    return {keys[place]: rank for rank, place in enumerate(places, start=1)}


def _discount(rank: int) -> float:
    return float(1 / np.log2(1 + rank))


def _limits(opinions: Sequence[Opinion]) -> dict[str, float]:
    """What each of a voter's opinions weighs."""
    return {voter: min(1.0, VOTER_MOST / count) for voter, count in Counter(one.voter for one in opinions).items()}


def _interval(
    gains: Floats, weights: Floats, questions: Sequence[Hashable], voters: Sequence[Hashable]
) -> tuple[float, float]:
    """The wider of two bootstraps of the ratio: by question, and by voter."""
    random = np.random.default_rng(SEED)
    ends = []
    for names in (questions, voters):
        _, place = np.unique([str(name) for name in names], return_inverse=True)
        count = int(place.max()) + 1
        drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
        below = drawn @ np.bincount(place, weights)
        ratios = (drawn @ np.bincount(place, gains))[below > 0] / below[below > 0]
        tail = (1 - CONFIDENCE) / 2
        ends.append(np.quantile(ratios, [tail, 1 - tail]))
    return float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
