"""What is learned from votes: that it is right, that it is bounded, and that liars do not turn it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from assistant.knowledge.embedder_port import Question
from assistant.preferences.features import LENGTH, NAMES, Passage, Texts, content_key
from assistant.preferences.model import CAP, SUPPORT, VOTER_LIMIT, Comparison, Memory, learn
from ml.week07_alignment.preference import objective

Floats = npt.NDArray[np.float64]
Rows = dict[tuple[int, str], Floats]


def unit(rows: int, seed: int = 0, width: int = 16) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(rows, width))
    vectors: npt.NDArray[np.float32] = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def world(questions: int, seed: int, liars: float = 0.0, voters: int = 20) -> tuple[list[Comparison], Rows, Floats]:
    """Comparisons by the true weights, with noise; ``liars``: the share of voters who always say the opposite."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(len(NAMES))
    truth[[0, 2]] = 2.0, 1.5
    comparisons: list[Comparison] = []
    rows: Rows = {}
    for question in range(questions):
        for name in ("a", "b"):
            rows[question, f"{question}{name}"] = rng.normal(size=len(NAMES))
        keys = [f"{question}a", f"{question}b"]
        margin = truth @ (rows[question, keys[0]] - rows[question, keys[1]])
        voter = int(rng.integers(voters))
        won = (rng.random() < 1 / (1 + np.exp(-margin))) != (voter < liars * voters)
        better, worse = keys if won else keys[::-1]
        comparisons.append(Comparison(question, better, worse, f"voter {voter}"))
    return comparisons, rows, truth


def accuracy(weights: Floats, truth: Floats, seed: int = 99) -> float:
    differences = np.random.default_rng(seed).normal(size=(2_000, len(NAMES)))
    return float(((differences @ weights > 0) == (differences @ truth > 0)).mean())


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(3)
    width = len(NAMES) + 1
    w, d = rng.normal(size=width), rng.normal(size=(40, width))
    v, b = rng.random(40), rng.normal(size=40)
    _, gradient, hessian = objective(w, d, v, b, 2.0)
    step = 1e-6
    for place in range(width):
        e = np.eye(width)[place] * step
        high, low = objective(w + e, d, v, b, 2.0), objective(w - e, d, v, b, 2.0)
        assert gradient[place] == pytest.approx((high[0] - low[0]) / (2 * step), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(hessian[place], (high[1] - low[1]) / (2 * step), rtol=1e-4, atol=1e-5)


def test_what_people_prefer_is_found() -> None:
    comparisons, rows, truth = world(400, seed=1)
    learned = learn(comparisons, unit(400), rows)
    assert accuracy(learned.model.coefficients[: len(NAMES)], truth) > 0.9


def test_a_fifth_of_the_voters_lying_turns_little() -> None:
    comparisons, rows, truth = world(400, seed=2, liars=0.2)
    assert accuracy(learn(comparisons, unit(400), rows).model.coefficients[: len(NAMES)], truth) > 0.85


def test_little_data_moves_little() -> None:
    comparisons, rows, _ = world(400, seed=4)
    few, many = (learn(comparisons[:n], unit(400), rows).model.coefficients for n in (3, 400))
    assert np.linalg.norm(few) < 0.6 * np.linalg.norm(many)


def test_one_voter_weighs_no_more_than_the_limit() -> None:
    comparisons, rows, _ = world(200, seed=5, voters=1)
    assert learn(comparisons, unit(200), rows).model.pairs <= VOTER_LIMIT + 1e-9


def test_the_memory_speaks_for_near_questions_alone() -> None:
    vectors = np.eye(3, dtype=np.float32)
    comparisons = [Comparison(0, "good", "bad", "ana"), Comparison(0, "good", "bad", "bo")]
    memory = Memory(vectors, comparisons, np.ones(2))
    assert memory.support(vectors[0], ["good", "bad", "new"]).tolist() == pytest.approx([2 / 3, -2 / 3, 0])
    assert memory.support(vectors[1], ["good", "bad", "new"]).tolist() == [0, 0, 0]
    assert memory.support(vectors[0], ["good", "bad"], without=0).tolist() == [0, 0]


def test_votes_for_near_questions_earn_the_memory_its_weight() -> None:
    """Ten topics, each with a passage that everyone prefers; the features say nothing."""
    topics = unit(10, seed=6)
    rng = np.random.default_rng(7)
    vectors = np.repeat(topics, 6, axis=0)
    comparisons = [Comparison(q, f"{q // 6}+", f"{q // 6}-", f"voter {q}") for q in range(60)]
    rows = {(q, f"{q // 6}{side}"): rng.normal(size=len(NAMES)) for q in range(60) for side in "+-"}
    learned = learn(comparisons, vectors, rows)
    assert learned.effects()[SUPPORT] > 1
    nothing = np.zeros((2, len(NAMES)))
    scores = learned.scores(nothing, topics[3], ["3+", "3-"])
    assert scores[0] > scores[1]


def test_all_votes_together_move_no_passage_further_than_the_cap() -> None:
    comparisons, rows, _ = world(400, seed=8)
    learned = learn(comparisons, unit(400), rows)
    extreme = np.vstack([np.full(len(NAMES), 100.0), np.zeros((3, len(NAMES))), np.full(len(NAMES), -100.0)])
    extreme[1, NAMES.index(LENGTH)] = 50.0
    moves = learned.moves(extreme, unit(1)[0], list("abcde"))
    assert np.abs(moves).max() <= CAP
    assert moves[0] > moves[1] == moves[2] > moves[4]  # however long


def test_nothing_compared_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        learn([], unit(1), {})


def passages() -> Sequence[Passage]:
    return (
        Passage("Payments", "Restart the payments gateway with deploy restart."),
        Passage("Lunch", "Lunch is at noon in the canteen, and the soup is hot."),
        Passage("Gateway", "Payments are booked at night. The gateway sleeps."),
    )


def test_features_tell_a_fitting_passage_from_another() -> None:
    texts = Texts(passages(), unit(3), unit(3, seed=1))
    rows = texts.features("How do I restart the payments gateway?", Question(unit(1)[0]), [0, 1, 2])
    assert rows.shape == (3, len(NAMES))
    assert np.isfinite(rows).all()
    bm25, pairs = NAMES.index("bm25"), NAMES.index("pairs")
    assert rows[0, bm25] > rows[2, bm25] > rows[1, bm25] == 0
    assert rows[0, pairs] > rows[2, pairs] == 0
    np.testing.assert_allclose(rows[:, 0], texts.vectors @ unit(1)[0], rtol=1e-5)


def test_the_key_of_a_passage_is_its_words() -> None:
    assert content_key("Call  the desk.\nThen wait.") == content_key("call the desk. then wait. ")
    assert content_key("Call the desk.") != content_key("Call the bank.")
