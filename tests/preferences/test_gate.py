"""The gate: a real gain passes; noise, too little, and what a few shout do not."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from assistant.database.votes import Arm
from assistant.knowledge.lexical import term_id
from assistant.preferences import gate
from assistant.preferences.features import Asked, Shown
from assistant.preferences.gate import Evidence, judged, with_moves
from assistant.preferences.pairs import Opinion, Place, fading, pairs_of
from assistant.preferences.replay import Replay
from assistant.preferences.showing import trial
from assistant.preferences.simulation import simulate

NOW = datetime(2026, 11, 26, tzinfo=UTC)
QUESTIONS, PASSAGES, DIMENSIONS = 24, 8, 12
ETA = 0.4


def replay(number: int, random: np.random.Generator) -> Replay:
    """Passages in the ranking's order, close together; one of them, in the middle, has the question's word as title."""
    word = f"zebra{number}"
    right = 1 + number % 5
    vectors = random.normal(size=(PASSAGES + 1, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shown = {
        f"{number}-{place}": Shown(
            word if place == right else "Notes", f"Passage {place} of {number} on {word}.", 0.6, 2.0,
            score=0.9 - 0.03 * place, vector=vectors[place],
        )
        for place in range(PASSAGES)
    }  # fmt: skip
    hits: Any = {key: SimpleNamespace(title=one.title, heading_path=(), external_id=key) for key, one in shown.items()}
    return Replay(Asked(f"What about {word}", vectors[-1], {term_id(word): 5.0}), shown, hits)


def evidence(
    voters: Sequence[str], liars: Sequence[str] = (), by_coin: bool = False, seed: int = 1, days: float = 1.0
) -> Evidence:
    """Every voter on every question: what is cited is what the title names; liars cite the one behind it."""
    random = np.random.default_rng(seed)
    replays: dict[Hashable, Replay] = {number: replay(number, random) for number in range(QUESTIONS)}
    opinions = []
    for number, one in replays.items():
        keys = list(one.shown)
        right = next(place for place, key in enumerate(keys) if one.shown[key].title != "Notes")
        for voter in voters:
            cited = right if voter not in liars else right + 1
            if by_coin:
                cited = int(random.integers(PASSAGES))
            value = int(random.integers(2)) * 2 - 1 if by_coin else 1
            places = [Place(key, rank, True, rank - 1 == cited) for rank, key in enumerate(keys, start=1)]
            at = NOW - timedelta(days=days + int(str(number)) / QUESTIONS)
            opinions.append(Opinion(number, voter, value, at, places))
    pairs = pairs_of(opinions, NOW, 180, ETA)
    return Evidence(replays, opinions, [fading(one.at, NOW, 180) for one in opinions], pairs, ETA, "test")


def test_a_real_gain_passes_and_is_told_with_its_interval() -> None:
    verdict = judged(evidence(["ann", "ben", "cleo"]))
    assert verdict.passed
    assert verdict.held_out is not None
    assert verdict.newest is not None
    assert 0 < verdict.held_out.low <= verdict.held_out.mean <= verdict.held_out.high
    assert verdict.held_out.after > verdict.held_out.before
    assert verdict.newest.questions < verdict.held_out.questions == QUESTIONS


@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_pass(seed: int) -> None:
    verdict = judged(evidence(["ann", "ben", "cleo"], by_coin=True, seed=seed))
    assert verdict.refusal == "no_gain"


def test_too_little_does_not_pass() -> None:
    assert judged(evidence(["ann"])).refusal == "few_voters"
    some = evidence(["ann", "ben", "cleo"])
    few = replace(some, pairs=[pair for pair in some.pairs if pair.opinion < 19])
    assert judged(few).refusal == "few_votes"
    few = replace(some, pairs=[pair for pair in some.pairs if pair.question in range(9)])
    assert judged(few).refusal == "few_questions"
    assert judged(evidence(["ann", "ben", "cleo"], days=2_000)).refusal == "few_voters"  # they say nothing any more


def test_a_fifth_of_liars_does_not_turn_it() -> None:
    people = ["ann", "ben", "cleo", "dan", "eve"]
    verdict = judged(evidence(people, liars=["eve"]))
    assert verdict.held_out is not None
    assert verdict.held_out.mean > 0
    learned = evidence(people, liars=["eve"]).learn(range(len(people) * QUESTIONS))
    for one in evidence(["ann"]).replays.values():
        right = next(place for place, shown in enumerate(one.shown.values()) if shown.title != "Notes")
        order = np.argsort(-with_moves(learned)(one), kind="stable").tolist()
        assert order.index(right) <= right


def test_what_is_in_force_must_be_beaten_on_votes_that_it_has_not_seen() -> None:
    found = evidence(["ann", "ben", "cleo"])
    learned = found.learn(found.counted)
    assert judged(found, with_moves(learned)).refusal == "no_gain"  # the same again is no gain
    since = sorted(one.at for one in found.opinions)[-15]
    assert judged(found, with_moves(learned), since).refusal in ("few_votes", "few_questions")


def test_what_turns_against_its_own_votes_does_not_pass() -> None:
    """Held-out questions cannot show what was remembered of the questions themselves."""
    found = evidence(["ann", "ben", "cleo"])

    class Perverse:
        def moves(self, asked: Asked, shown: Sequence[Shown]) -> Any:
            return np.array([-3.0 if one.title != "Notes" else 0.0 for one in shown])

    assert judged(found, learned=found.learn(found.counted)).passed
    assert judged(found, learned=Perverse()).refusal == "against_its_votes"  # type: ignore[arg-type]


def test_questions_in_other_words_are_judged_together() -> None:
    found = evidence(["ann", "ben", "cleo"])
    first = found.replays[0]
    near = replace(first, asked=replace(first.asked, text="Zebra0, what about it?"))
    group = gate.clusters(replace(found, replays={**found.replays, "again": near}))
    assert group["again"] == group[0]
    assert len(set(group.values())) == QUESTIONS


def test_one_voter_who_decides_it_all_makes_the_interval_wide() -> None:
    """What only one of four people holds is no gain for sure, however many questions it was said on."""
    found = evidence(["ann", "ben", "cleo", "dan"])
    quiet = [
        replace(one, places=[replace(place, cited=place.rank == 1) for place in one.places])
        if one.voter != "ann" else one
        for one in found.opinions
    ]  # fmt: skip
    found = replace(found, opinions=quiet, pairs=pairs_of(quiet, NOW, 180, ETA))
    verdict = judged(found)
    assert verdict.refusal == "no_gain"


def test_simulated_readers_gain_where_there_is_something_to_learn_and_coins_do_not() -> None:
    found = simulate(evidence(["ann", "ben", "cleo", "dan", "eve"]), 180)
    assert found["real"]["known"] > 0
    assert found["real"]["estimated"] > 0
    assert not found["noise"]["passed"]


def test_a_trial_tells_the_difference_of_thumbs() -> None:
    assert trial([]) is None
    found = trial([Arm("canary", 60, 30, 2), Arm("control", 500, 150, 90)])
    assert found is not None
    assert found["difference"]["up_share"] == pytest.approx(30 / 32 - 150 / 240, abs=1e-3)
    assert found["difference"]["interval"][0] > 0.1
    assert "difference" not in (trial([Arm("canary", 3, 0, 0), Arm("control", 9, 1, 1)]) or {})
