"""What is learned from votes: that it is right, that it is bounded, that it is kept, and that liars do not turn it."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest

from assistant.knowledge.lexical import plain_terms, term_id
from assistant.preferences import lean
from assistant.preferences.features import LENGTH, NAMES, SCORE, Asked, Shown, rows
from assistant.preferences.lean import Differences
from assistant.preferences.memory import Memory, Rating, content_key
from assistant.preferences.model import CAP, REST, SUPPORT, VOTER_LIMIT, BadLearned, Comparison, Learned, learn

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
WIDTH = 16
SLOPE = 6.0  # log-odds a unit of the ranking's score, in the world that is drawn


def unit(rows: int, seed: int = 0, width: int = WIDTH) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(rows, width))
    vectors: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def passage(score: float, text: str, vector: Vectors | None = None, title: str = "Title") -> Shown:
    return Shown(title, text, 0.0, 0.0, score=score, vector=vector)


def world(questions: int, seed: int, liars: float = 0.0, voters: int = 20) -> list[Comparison]:
    """People prefer what scores higher, with noise; ``liars``: the share of voters who always say the opposite."""
    rng = np.random.default_rng(seed)
    vectors = unit(questions, seed)
    found: list[Comparison] = []
    for question in range(questions):
        scores = rng.random(2)
        sides = [
            passage(one, f"Passage {name} of question {question}.") for one, name in zip(scores, "ab", strict=True)
        ]
        voter = int(rng.integers(voters))
        won = (rng.random() < 1 / (1 + np.exp(-SLOPE * (scores[0] - scores[1])))) != (voter < liars * voters)
        better, worse = sides if won else sides[::-1]
        found.append(Comparison(Asked(f"{question:04}", vectors[question], {7: 1.0}), better, worse, f"voter {voter}"))
    return found


def slope(learned: Learned) -> float:
    return float(learned.whole.coefficients[learned.whole.names.index(SCORE)])


def test_what_people_prefer_is_found() -> None:
    assert slope(learn(world(400, seed=1))) == pytest.approx(SLOPE, rel=0.3)


def test_a_fifth_of_the_voters_lying_turns_little() -> None:
    assert slope(learn(world(400, seed=2, liars=0.2))) == pytest.approx(SLOPE, rel=0.4)


def test_little_data_moves_little() -> None:
    comparisons = world(400, seed=4)
    few, many = (slope(learn(comparisons[:n])) for n in (4, 400))
    assert abs(few) < 0.5 * abs(many)


def test_one_voter_weighs_no_more_than_the_limit() -> None:
    assert learn(world(200, seed=5, voters=1)).whole.pairs <= VOTER_LIMIT + 1e-9


def test_the_rest_leaves_out_what_the_ranking_says_already() -> None:
    """Whoever leads in the score is preferred, as surely as the score says: nothing is left to move."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(600):
        scores = rng.random(2)
        won = rng.random() < 1 / (1 + np.exp(-10 * (scores[0] - scores[1])))
        one, other = (
            Shown(f"Title {number}", f"Text {number} {side}.", 0, 0, score=s) for side, s in enumerate(scores)
        )
        better, worse = (one, other) if won else (other, one)
        found.append(Comparison(Asked(f"{number}", unit(1)[0], {}), better, worse, f"{number}"))
    assert max(map(abs, learn(found).effects().values())) < 0.5
    assert set(learn(found).effects()) == set(REST)


def test_the_memory_speaks_for_near_questions_alone() -> None:
    vectors = np.eye(3, dtype=np.float32)
    memory = Memory(vectors, [Rating(0, "good", 1), Rating(0, "bad", -1), Rating(0, "good", 1), Rating(0, "bad", -1)])
    assert memory.support(vectors[0], ["good", "bad", "new"]).tolist() == pytest.approx([2 / 3, -2 / 3, 0])
    assert memory.support(vectors[1], ["good", "bad", "new"]).tolist() == [0, 0, 0]
    assert memory.support(vectors[0], ["good", "bad"], without=0).tolist() == [0, 0]


FIRST = "Call the desk before you travel. Bring your passport and the letter with you."
SECOND = "The desk is open until noon on every weekday. Nobody answers on public holidays."


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (FIRST.replace(" ", "\n").upper(), True),  # another layout
        (f"{FIRST}\n\n{SECOND}", True),  # two pieces joined
        ("Call the desk before you travel.", True),  # one piece cut
        (SECOND, False),
        ("Bring it. " + SECOND, False),
    ],
)
def test_a_passage_is_known_when_it_is_cut_anew(text: str, known: bool) -> None:
    vectors = np.eye(2, dtype=np.float32)
    support = Memory(vectors, [Rating(0, FIRST, 1.0)]).support(vectors[0], [text])[0]
    assert (support > 0.3) == known


def test_votes_for_near_questions_earn_the_memory_its_weight() -> None:
    """Ten topics, each with a passage that everyone prefers; the features say nothing."""
    topics = unit(10, seed=6)
    found = []
    for number in range(60):
        better, worse = (passage(0.0, f"On topic {number // 6} {side}") for side in "+-")
        found.append(Comparison(Asked(f"{number:02}", topics[number // 6], {}), better, worse, f"voter {number}"))
    learned = learn(found)
    assert learned.effects()[SUPPORT] > 1
    moves = learned.moves(Asked("new", topics[3], {}), [passage(0.0, f"On topic 3 {side}") for side in "+-"])
    assert moves[0] > moves[1]


def leaning(count: int, seed: int) -> list[Comparison]:
    """Passages in a direction that a hidden map gives are preferred; all else is equal."""
    hidden = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)).astype(np.float32) / 2
    questions, passages = unit(count, seed), unit(2 * count, seed + 1).reshape(count, 2, WIDTH)
    found = []
    for number in range(count):
        strengths = passages[number] @ (questions[number] @ hidden)
        sides = [passage(0.0, f"Side {side} of {number}.", passages[number, side]) for side in (0, 1)]
        better, worse = sides if strengths[0] > strengths[1] else sides[::-1]
        found.append(Comparison(Asked(f"{number:04}", questions[number], {}), better, worse, f"{number}"))
    return found


def test_where_questions_lean_is_learned_and_needs_every_passages_vector() -> None:
    learned = learn(leaning(1_500, seed=3))
    new = leaning(300, seed=50)
    moves = [learned.moves(one.asked, [one.better, one.worse]) for one in new]
    assert np.mean([better > worse for better, worse in moves]) > 0.85
    one = new[0]
    assert learned.moves(one.asked, [one.better, passage(0.0, "Other words.")]).tolist() == [0, 0]


def test_the_leans_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(3)
    asked = np.array([0, 0, 1, 3, 3, 3])
    found = Differences(
        rng.normal(size=(4, 5)), asked, rng.normal(size=(6, 5)), rng.normal(size=6), rng.random(6)
    )  # fmt: skip
    flat, step = rng.normal(size=25), 1e-6
    _, gradient = lean.objective(flat, found, 0.7)
    for place in range(25):
        ends = [lean.objective(flat + sign * step * np.eye(25)[place], found, 0.7)[0] for sign in (1, -1)]
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-6)


def test_all_votes_together_move_no_passage_further_than_the_cap() -> None:
    learned = learn(leaning(1_500, seed=3))
    asked = Asked("new", unit(1)[0], {})
    vectors = unit(20, seed=77) * 1_000
    shown = [passage(0.0, f"Text {number}.", vectors[number]) for number in range(20)]
    moves = learned.moves(asked, shown)
    assert 0.9 * CAP < np.abs(moves).max() <= CAP
    assert learned.moves(asked, []).shape == (0,)


def test_a_passage_is_not_moved_for_its_length() -> None:
    """All prefer the longer one; what is learned of it stays out of the order."""
    found = []
    for number in range(100):
        sides = [passage(0.0, f"Text {number}. " * times) for times in (9, 1)]
        found.append(Comparison(Asked(f"{number:03}", unit(1)[0], {}), *sides, f"{number}"))
    learned = learn(found)
    assert learned.effects()[LENGTH] > 0.5
    asked = Asked("new", unit(1, seed=1)[0], {})
    shown = [passage(0.0, text) for text in ("long " * 50, "short")]
    assert learned.moves(asked, shown).tolist() == [0, 0]
    assert np.diff(learned.scores(asked, shown))[0] < -0.5


def test_what_was_only_passed_over_is_not_held_against_a_passage() -> None:
    better, worse = (passage(0.0, f"{side} text") for side in ("Better", "Worse"))
    asked = Asked("one", unit(1)[0], {})
    support = [
        learn([Comparison(asked, better, worse, "ana", passed=passed)]).memory.support(asked.vector, ["Worse text"])[0]
        for passed in (True, False)
    ]
    assert support[0] == 0 > support[1]


def test_what_was_learned_is_kept_exactly() -> None:
    learned = learn(leaning(40, seed=9), embedder="words")
    text = learned.to_json()
    again = Learned.from_json(text)
    assert again.to_json() == text
    assert again.embedder == "words"
    one = leaning(40, seed=9)[0]
    shown = [one.better, one.worse]
    assert again.moves(one.asked, shown).tolist() == learned.moves(one.asked, shown).tolist()
    assert again.scores(one.asked, shown).tolist() == learned.scores(one.asked, shown).tolist()


def broken(path: str, value: object) -> str:
    data = json.loads(learn(world(5, seed=1)).to_json())
    *way, last = path.split(".")
    inner = data
    for name in way:
        inner = inner[name]
    inner[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"version": 1}',
        broken("version", 9),
        broken("memory.questions", "%%%"),
        broken("memory.dimensions", 0),
        broken("memory.passages", {"aa": {"of": "CQAAAA==", "value": "AACAPw==", "sentences": {}}}),
        broken("memory.passages", {"aa": {"of": "AAAAAA==", "value": "AADAfw==", "sentences": {}}}),
        broken("lean.dimensions", 3),
        broken("rest.coefficients", [1.0]),
        broken("rest.names", ["a", "b", "c"]),
    ],
)
def test_what_is_not_learned_preferences_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BadLearned, match=r"^What was learned from votes cannot be read: [^\n]*\.$"):
        Learned.from_json(text)


def test_nothing_compared_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        learn([])


def test_features_are_shares_of_what_is_asked() -> None:
    weights = {term_id(term): 2.0 for term in plain_terms("restart payments gateway")}
    asked = Asked("How do I restart the payments gateway?", unit(1)[0], weights)
    shown = [
        Shown("Payments", "The gateway restarts.", 0, 0, score=0.7, headings=("Parts", "Gateway in the night")),
        Shown("Lunch > Soup of the day", "Text.", 0, 0),
    ]
    found = rows(asked, shown)
    assert found.shape == (2, len(NAMES))
    np.testing.assert_allclose(found[0, :-1], [0.7, 2 / 3, np.log(2), 2 / 3])
    np.testing.assert_allclose(found[1, :-1], [0, 0, np.log(3), 0])


def test_the_key_of_a_passage_is_its_words() -> None:
    assert content_key("Call  the desk.\nThen wait.") == content_key("call the desk. then wait. ")
    assert content_key("Call the desk.") != content_key("Call the bank.")
