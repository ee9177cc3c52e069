"""What pairs follow from votes, what corrects for the place of a passage, and how a passage is known again."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from assistant.preferences.pairs import (
    CLIP,
    DOWN,
    ETA,
    MOST_UNSEEN,
    Opinion,
    Pair,
    Place,
    estimate_eta,
    once,
    pairs_of,
    propensity,
)
from assistant.preferences.reasons import UNKNOWN, blame
from assistant.preferences.sketch import KEPT, share, shingles, sketch

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def opinion(
    cited: tuple[int, ...] = (2,), value: int = 1, voter: str = "ann", days: float = 0.0, **more: object
) -> Opinion:
    """On an answer whose model was shown five of eight passages, a to h."""
    places = [Place(chr(96 + rank), rank, rank <= 5, rank in cited) for rank in range(1, 9)]
    question = str(more.pop("question", "q"))
    return Opinion(question, voter, value, NOW - timedelta(days=days), places, **more)  # type: ignore[arg-type]


def weights(pairs: list[Pair]) -> dict[tuple[object, object], float]:
    found: dict[tuple[object, object], float] = defaultdict(float)
    for pair in pairs:
        found[pair.better, pair.worse] += pair.weight
    return found


def test_a_thumb_up_prefers_what_was_cited_to_what_was_shown_and_less_to_what_was_not() -> None:
    found = weights(pairs_of([opinion()], NOW, 180, eta=0.5))
    assert {better for better, _ in found} == {"b"}
    assert {worse for _, worse in found} == {"a", "c", "d", "e", "f", "g", "h"}
    assert found["b", "a"] > found["b", "c"] > found["b", "e"] > found["b", "f"] == found["b", "h"] > 0
    assert sum(found.values()) == pytest.approx(1.0)
    assert len([worse for worse in "fgh" if ("b", worse) in found]) <= MOST_UNSEEN


def test_a_thumb_down_is_the_other_way_round_weaker_and_over_what_was_shown_alone() -> None:
    found = weights(pairs_of([opinion(value=-1, reason="outdated")], NOW, 180, eta=0.5))
    assert {worse for _, worse in found} == {"b"}
    assert {better for better, _ in found} == {"a", "c", "d", "e"}
    assert sum(found.values()) == pytest.approx(DOWN)
    unsaid = weights(pairs_of([opinion(value=-1)], NOW, 180, eta=0.5))
    assert sum(unsaid.values()) == pytest.approx(DOWN * UNKNOWN)
    assert pairs_of([opinion(value=-1, reason="far too long")], NOW, 180) == []


def test_nothing_is_made_of_an_answer_that_cites_nothing_or_everything() -> None:
    assert pairs_of([opinion(cited=())], NOW, 180) == []
    assert pairs_of([opinion(cited=(), value=-1)], NOW, 180) == []
    every = Opinion("q", "ann", -1, NOW, [Place("a", 1, True, True), Place("b", 2, True, True)])
    assert pairs_of([every], NOW, 180) == []
    assert pairs_of([], NOW, 180) == []


def test_what_was_cited_far_down_counts_more_up_to_the_clip() -> None:
    found = pairs_of([opinion((1,)), opinion((5,), voter="ben")], NOW, 180, eta=0.5)
    by = {voter: sum(pair.weight for pair in found if pair.voter == voter) for voter in ("ann", "ben")}
    assert by["ben"] / by["ann"] == pytest.approx(1 / propensity(5, 0.5))
    assert sum(by.values()) == pytest.approx(2)  # on average each opinion counts 1
    steep = pairs_of([opinion((1,)), opinion((5,), voter="ben")], NOW, 180, eta=1.5)
    by = {voter: sum(pair.weight for pair in steep if pair.voter == voter) for voter in ("ann", "ben")}
    assert by["ben"] / by["ann"] == pytest.approx(CLIP)


def test_people_who_disagree_cancel_out() -> None:
    found = weights(pairs_of([opinion(), opinion(value=-1, voter="ben", reason="wrong")], NOW, 180))
    alone = weights(pairs_of([opinion()], NOW, 180))
    assert 0 < found["b", "a"] - found["a", "b"] < alone["b", "a"]


def test_votes_fade_by_half_in_a_half_life() -> None:
    [fresh, old] = (sum(pair.weight for pair in pairs_of([opinion(days=days)], NOW, 90)) for days in (0, 90))
    assert old / fresh == pytest.approx(0.5)


def test_who_asks_again_and_again_counts_once_and_by_the_last_word() -> None:
    votes = [opinion(days=day, value=1 if day else -1) for day in (5, 3, 0)] + [opinion(voter="ben", days=4)]
    assert [(one.voter, one.value) for one in once(votes)] == [("ben", 1), ("ann", -1)]
    elsewhere = [opinion(question="in a channel", topic="t"), opinion(question="alone", topic="t")]
    assert len(once(elsewhere)) == 1


@pytest.mark.parametrize("true", [0.0, 0.4, 1.0])
def test_the_bias_of_places_is_found_in_what_stood_at_several(true: float) -> None:
    """Simulated readers: passages worth more stand higher, which must not be taken for the bias."""
    random = np.random.default_rng(7)
    opinions = []
    for question in range(150):
        worth = np.sort(random.normal(0, 1, 10))[::-1]
        for _ in range(8):  # the order changes a little from answer to answer
            order = np.argsort(-(worth + random.normal(0, 1.0, 10)))
            places = []
            for rank, passage in enumerate(order.tolist(), start=1):
                odds = np.exp(worth[passage] - 1.0) * rank**-true
                places.append(Place(passage, rank, True, bool(random.random() < odds / (1 + odds))))
            opinions.append(Opinion(question, f"v{random.integers(9)}", 1, NOW, places))
    assert estimate_eta(opinions) == pytest.approx(true, abs=0.12)


def test_without_data_the_bias_is_what_is_usual() -> None:
    assert estimate_eta([]) == ETA
    assert estimate_eta([opinion()]) == ETA  # nothing stood at two places


@pytest.mark.parametrize(
    ("reason", "least", "most"),
    [
        (None, UNKNOWN, UNKNOWN), ("I do not like it", UNKNOWN, UNKNOWN), ("It is outdated", 1, 1),
        ("wrong: see wiki", 1, 1),
        ("C'est faux", 1, 1), ("Está anticuado", 1, 1), ("Es ist veraltet", 1, 1), ("incomplete", 0.1, 0.5),
        ("Es fehlt etwas", 0.1, 0.5), ("The source does not say that", 0.1, 0.5), ("unclear", 0, 0),
        ("Es ist schwer zu verstehen", 0, 0), ("trop long", 0, 0),
    ],
)  # fmt: skip
def test_reasons_say_whether_the_passages_are_to_blame(reason: str | None, least: float, most: float) -> None:
    assert least <= blame(reason) <= most


TEXT = " ".join(f"step {n} is done by hand before noon on day {n * 7}" for n in range(30))


def test_a_passage_is_known_again_when_it_is_cut_otherwise() -> None:
    kept = sketch(TEXT)
    assert len(kept) == 4 * -(-KEPT * 4 // 3)
    assert share(kept, shingles(TEXT.upper().replace(" ", "\n"))) == 1
    assert share(kept, shingles("More before. " + TEXT + " More behind.")) == 1
    half = TEXT[: len(TEXT) // 2]
    assert 0.2 < share(kept, shingles(half)) < 0.8
    assert share(sketch(half), shingles(TEXT)) > 0.9
    assert share(kept, shingles("another text about other things altogether")) == 0
    assert share("", shingles(TEXT)) == share("not base64!", shingles(TEXT)) == 0
    assert share(sketch("Go."), shingles("go")) == 1
    assert len(shingles("")) == 0
