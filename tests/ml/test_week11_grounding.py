"""Week 11, support: the signs, the model that weighs them, and the data made for them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml.lesson import data_folder
from ml.week11_guardrails import grounding, grounding_data, roc, studies
from ml.week11_guardrails.grounding import Signs
from ml.week11_guardrails.minilm import load_embedder

PASSAGE = "Rolling back. A ledger release may be rolled back within 45 minutes. Announce 1,000 of it in the channel."


def bag(texts: list[str]) -> np.ndarray:
    """Words hashed into 251 places, length 1."""
    vectors = np.full((len(texts), 251), 1e-9)
    for row, text in enumerate(texts):
        for word in grounding.words(text):
            vectors[row, int.from_bytes(word.encode(), "little") % 251] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def signs_of(sentence: str, *passages: str) -> list[float]:
    return Signs(bag, grounding.weigh_words([PASSAGE, "Logs are kept."])).of(sentence, passages).round(6).tolist()


def test_a_sentence_of_the_passage_has_every_sign_of_support() -> None:
    assert signs_of("A ledger release may be rolled back within 45 minutes.", PASSAGE) == [1.0, 1.0, 0.0, 0.0]


def test_each_sign_moves_for_its_own_reason() -> None:
    changed = signs_of("A ledger release may be rolled back within 50 minutes.", PASSAGE)
    denied = signs_of("A ledger release may not be rolled back within 45 minutes.", PASSAGE)
    other = signs_of("Invoices belong to finance.", PASSAGE)
    assert (changed[2], changed[3]) == (1.0, 0.0)
    assert changed[0] < 1, "a number is a word, too"
    assert (denied[2], denied[3]) == (0.0, 1.0)
    assert other[:2] == [0.0, 0.0]
    assert signs_of("There are 1000 of 45.", PASSAGE)[2] == 0.0, "1,000 is 1000"
    assert signs_of("Anything.") == [0.0, 0.0, 1.0, 0.0], "without a passage nothing is supported"


def test_rare_words_weigh_more_by_hand() -> None:
    idf = grounding.weigh_words(["red fish", "red bird"])
    assert idf["red"] == pytest.approx(1)  # ln(3 / 3) + 1
    assert idf["fish"] == pytest.approx(np.log(3 / 2) + 1)
    signs = Signs(bag, idf).of("red fish", ["Red it is."])
    assert signs[0] == pytest.approx(1 / (1 + np.log(3 / 2) + 1))


def test_two_denials_affirm() -> None:
    assert grounding.denies("This is not allowed.")
    assert grounding.denies("It doesn't work.")
    assert not grounding.denies("It is not impossible without a key.")
    assert not grounding.denies("Notable nonetheless.")


def test_sentences_and_words() -> None:
    assert grounding.sentences("One. Two e.g. this!\nThree 1.5 is\n---\n") == ["One.", "Two e.g. this!", "Three 1.5 is"]
    assert grounding.words("The change changes what was changed") == ["chang"] * 3


def test_the_fit_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) * [1, 5, 0.1, 2] + 3
    z = x @ [1, -0.2, 3, 0.1] + rng.normal(size=200)
    y = (z > np.median(z)).astype(int)
    ours = grounding.fit(x, y, penalty=0.5)
    theirs = LogisticRegression(C=2, tol=1e-12, max_iter=10_000).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-5)
    np.testing.assert_allclose(ours.probability(x), theirs.predict_proba((x - x.mean(0)) / x.std(0))[:, 1], atol=1e-6)


def test_calibration_by_hand() -> None:
    rows, error = grounding.calibration(np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.8, 1.0]), bins=2)
    np.testing.assert_allclose(rows, [[0.2, 0.5, 2], [0.9, 1.0, 2]])
    assert error == pytest.approx((0.3 * 2 + 0.1 * 2) / 4)


# ---- made data ----


def test_a_changed_number_is_nowhere_in_the_passages() -> None:
    rng = random.Random(0)
    held = {"45", "46", "47", "1", "2", "3"}
    for _ in range(200):
        changed = grounding_data.change_number("Within 45 minutes, at 1,000 a day.", rng, held)
        assert changed is not None
        assert grounding.numbers(changed) - {"45", "1000"}
        assert not (grounding.numbers(changed) - {"45", "1000"}) & held
    assert grounding_data.change_number("No number here.", rng, set()) is None


@pytest.mark.parametrize(
    ("sentence", "turned"),
    [
        ("It is allowed.", "It is not allowed."),
        ("It is not allowed.", "It is allowed."),
        ("You cannot leave.", "You can leave."),
        ("It doesn't work.", "It does work."),
        ("Red fish swim.", None),
    ],
)
def test_a_denial_is_put_in_or_taken_out(sentence: str, turned: str | None) -> None:
    assert grounding_data.deny(sentence) == turned


def write_conversations(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text(
        "".join(
            f'{{"id": "p{i}", "title": "T{i}", "text": "Passage {i} says {i} things about topic {i}."}}\n'
            for i in range(4)
        )
    )
    asked = [("a<::>1", "p0"), ("a<::>2", "p1"), ("b<::>1", "p2"), ("c<::>1", "p3")]
    (folder / "queries.jsonl").write_text(
        "".join(
            f'{{"id": "{q}", "text": "?", "answer": "Passage {p[1]} is about many good things. Yes."}}\n'
            for q, p in asked
        )
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{p}\t1\n" for q, p in asked))


def test_cases_are_made_as_said(tmp_path: Path) -> None:
    write_conversations(tmp_path)
    cases = grounding_data.from_conversations(tmp_path, 10)
    own = {case.sentence: case.passages for case in cases if case.kind == "supported"}
    assert len(own) == 4, "`Yes.` is too short to be a claim"
    for case in cases:
        if case.kind in ("shuffled", "same topic"):
            assert case.passages != own[case.sentence]
        if case.kind == "shuffled":
            assert case.passages[0][1] in {"a": "23", "b": "013", "c": "012"}[case.group]
        if case.kind == "same topic":
            assert case.group == "a"
    assert sum(case.kind == "same topic" for case in cases) == 2
    halves = studies.halves(cases)
    assert all(len({h for h, c in zip(halves, cases, strict=True) if c.group == g}) == 1 for g in "abc")


@pytest.mark.skipif(data_folder("mtrag_cloud") is None, reason="needs ../shared/data/mtrag_cloud")
def test_similarity_knows_the_topic_and_the_four_signs_know_more() -> None:
    folder = data_folder("mtrag_cloud")
    assert folder is not None
    cases = grounding_data.from_conversations(folder, 24)
    signs = Signs(load_embedder(), grounding.weigh_words({text for case in cases for text in case.passages}))
    x, probability, _ = studies.judge(signs, cases)
    judged = studies.halves(cases) == 1
    found = studies.areas(cases, x, probability, judged)
    _, (coverage, similarity, four) = found["shuffled"]
    assert min(coverage, similarity, four) > 0.9
    _, (coverage, similarity, four) = found["denied"]
    assert four > 0.8 > max(coverage, similarity)
    labels = np.array([case.kind == "supported" for case in cases], int)
    assert roc.area(labels[judged], probability[judged]) > 0.9
    assert grounding.calibration(labels[judged], probability[judged])[1] < 0.15
