"""The gate: what is measured is right, a gain beyond doubt passes, and a loss beyond its limit never does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import card, gate, measuring
from workers.language_model import load

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # by peft
DOCUMENTS = [f"Runbook {n}: restart the queue, then look at the log of worker {n}." for n in range(12)]
PASSAGE = "The queue is restarted with `svc restart queue`. It takes two minutes."


async def word_for_word(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [float(claim.rstrip(".") in passage) for claim, passage in pairs]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the very documents, so that it knows them by heart."""
    base = load(model)
    torch.manual_seed(0)
    tuned = get_peft_model(base.model, LoraConfig(r=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]))
    rows = [base.tokenizer(text, return_tensors="pt")["input_ids"] for text in DOCUMENTS]
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(12):
        loss = sum(tuned(input_ids=ids, labels=ids).loss for ids in rows) / len(rows)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    folder = tmp_path_factory.mktemp("adapters") / "tuned"
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def wanted(**more: Any) -> dict[str, Any]:
    texts = [{"id": str(n), "text": text} for n, text in enumerate(DOCUMENTS)]
    return {"texts": texts, "questions": [], "pairs": [], "max_tokens": 8, **more}


def measured(**after: Any) -> dict[str, Any]:
    """Two arms that are the same but for what ``after`` says."""
    answers = [{"id": str(n), "text": "It takes two minutes.", "tokens": 10, "seconds": 1.0} for n in range(8)]
    before = {
        "domain": [[str(n), 200.0 + n, 100] for n in range(20)],
        "general_text": [[str(n), 300.0, 100] for n in range(12)],
        "general": [[str(n), n % 2, 0.5] for n in range(60)],
        "pairs": [],
        "answers": answers,
    }
    return {"before": before, "after": {**before, **after}}


def asked() -> dict[str, Any]:
    questions = [
        {"id": str(n), "question": "How long?", "reference": "It takes two minutes.", "passages": [PASSAGE]}
        for n in range(8)
    ]
    return {"questions": questions}


async def judged(**after: Any) -> dict[str, Any]:
    return await gate.report(measured(**after), asked(), word_for_word)


def row(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in report["measures"] if one["name"] == name]
    return dict(found)


def test_scores_are_those_of_the_model_read_one_by_one(model: Path) -> None:
    base = load(model)
    rows = [
        (base.tokenizer(text, add_special_tokens=False)["input_ids"], first)
        for text, first in (("A short one.", 1), ("A text that is a good deal longer than it.", 7), ("xy", 1))
    ]
    for (ids, first), (total, tokens) in zip(rows, measuring.score(base.model, rows), strict=True):
        with torch.no_grad():
            probabilities = base.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        expected = sum(float(probabilities[place - 1, ids[place]]) for place in range(first, len(ids)))
        assert tokens == len(ids) - first
        assert total == pytest.approx(expected, rel=1e-4)


def test_arms_take_turns_on_one_copy_of_the_weights(model: Path, adapter: Path) -> None:
    texts = wanted()["texts"]
    plain = measuring.perplexity_cases(load(model).model, load(model).tokenizer, texts, 1, lambda *_: None)
    arms = measuring.Arms(load(model), {"before": None, "after": adapter})
    for _ in range(2):
        with arms.turn("before") as before:
            first = measuring.perplexity_cases(before, arms.tokenizer, texts, 1, lambda *_: None)
        with arms.turn("after") as after:
            second = measuring.perplexity_cases(after, arms.tokenizer, texts, 1, lambda *_: None)
        assert [loss for _, loss, _ in first] == pytest.approx([loss for _, loss, _ in plain], rel=1e-5)
        assert sum(loss for _, loss, _ in second) < 0.95 * sum(loss for _, loss, _ in first)
    both = measuring.Arms(load(model), {"before": adapter, "after": adapter})
    for arm in measuring.ARMS:
        with both.turn(arm) as either:
            again = measuring.perplexity_cases(either, both.tokenizer, texts, 1, lambda *_: None)
        assert [loss for _, loss, _ in again] == pytest.approx([loss for _, loss, _ in second], rel=1e-5)


async def test_a_version_that_learned_the_domain_is_told_from_the_base(model: Path, adapter: Path) -> None:
    """Real measuring, end to end: the gain in the domain is seen, and what was forgotten, too."""
    question = {"id": "q", "messages": [{"role": "user", "content": "How?"}], "reference": "So.", "passages": ["So."]}
    arms = measuring.Arms(load(model), {"before": None, "after": adapter})
    told: list[tuple[str, int, int]] = []
    found = measuring.measure(arms, wanted(questions=[question]), lambda *at: told.append(at))
    assert {name: len(found["after"][name]) for name in ("domain", "general", "general_text", "answers")} == {
        "domain": 12, "general": 60, "general_text": 12, "answers": 1,
    }  # fmt: skip
    assert told[-1] == ("questions", 1, 1)
    assert found["after"]["answers"][0]["tokens"] <= 8
    report = await gate.report(found, wanted(questions=[question]), word_for_word)
    assert row(report, "perplexity")["gain"]
    assert row(report, "perplexity")["change"] < -0.2
    assert row(report, "seconds")["judged"] is False  # one question says nothing
    forgot = row(report, "general_perplexity")
    assert (report["verdict"] == "loss") == (forgot["loss"] > forgot["limit"] or row(report, "general")["lost"])


async def test_a_gain_beyond_doubt_passes() -> None:
    report = await judged(domain=[[str(n), 180.0 + n, 100] for n in range(20)])
    assert report["verdict"] == "gain"
    found = row(report, "perplexity")
    assert found["before"] == pytest.approx(math.exp(2.095), rel=1e-3)
    assert found["change"] == pytest.approx(math.expm1(-0.2), rel=1e-3)
    assert found["low"] <= found["change"] <= found["high"] < 0
    assert "Perplexity of held-out documents got better by 18.1 %" in report["reasons"][0]


async def test_a_gain_that_may_be_chance_does_not() -> None:
    mixed = [[str(n), 200.0 + n + (60 if n % 2 else -64), 100] for n in range(20)]
    report = await judged(domain=mixed)
    assert row(report, "perplexity")["change"] < 0
    assert report["verdict"] == "no gain"


async def test_nothing_changed_is_no_gain() -> None:
    report = await judged()
    assert report["verdict"] == "no gain"
    assert all(found["change"] == 0 for found in report["measures"])


@pytest.mark.parametrize(
    ("after", "title"),
    [
        ({"general": [[str(n), n % 2 if n > 9 else 0, 0.5] for n in range(60)]}, "General questions"),
        ({"general_text": [[str(n), 311.0, 100] for n in range(12)]}, "Perplexity of general text"),
        ({"answers": [{"id": str(n), "text": "No idea.", "tokens": 10, "seconds": 1.0} for n in range(8)]}, "Claims"),
        (
            {
                "answers": [
                    {"id": str(n), "text": "It takes two minutes.", "tokens": 10, "seconds": 1.7} for n in range(8)
                ]
            },
            "Seconds a token",
        ),
    ],
)
async def test_a_loss_beyond_its_limit_outweighs_any_gain(after: dict[str, Any], title: str) -> None:
    gained = {"domain": [[str(n), 150.0 + n, 100] for n in range(20)]}
    assert (await judged(**gained))["verdict"] == "gain"
    report = await judged(**gained, **after)
    assert report["verdict"] == "loss"
    assert any(reason.startswith(title) for reason in report["reasons"]), report["reasons"]


async def test_a_small_loss_is_let_through() -> None:
    one_less = [[str(n), n % 2 if n != 1 else 0, 0.5] for n in range(60)]
    report = await judged(domain=[[str(n), 180.0 + n, 100] for n in range(20)], general=one_less)
    assert row(report, "general")["loss"] == pytest.approx(1 / 60, abs=1e-4)
    assert report["verdict"] == "gain"


async def test_better_answers_are_a_gain_and_are_kept_to_be_read() -> None:
    better = measured()
    for said in better["before"]["answers"]:
        said["text"] = "Some time later."
    better["after"]["answers"] = [{**said, "text": "It takes two minutes."} for said in better["before"]["answers"]]
    report = await gate.report(better, asked(), word_for_word)
    assert report["verdict"] == "gain"
    assert row(report, "groundedness")["gain"]
    assert row(report, "reference_f1")["gain"]
    assert report["answers"][0] == {
        "question": "How long?", "before": "Some time later.", "after": "It takes two minutes.",
        "reference": "It takes two minutes.",
    }  # fmt: skip


async def test_preferences_count_by_the_change_of_the_margin() -> None:
    found = measured()
    found["before"]["pairs"] = [[str(n), -10.0, -5.0] for n in range(40)]  # the likelier reply is not what counts
    found["after"]["pairs"] = [[str(n), -9.0, -5.0 if n else -3.0] for n in range(40)]
    report = await gate.report(found, asked(), word_for_word)
    told = row(report, "preference")
    assert (told["before"], told["after"]) == (0.5, pytest.approx(39 / 40))
    assert told["gain"]


async def test_without_questions_it_says_so() -> None:
    report = await gate.report(
        measured(answers=[]) | {"before": measured()["before"] | {"answers": []}}, {}, word_for_word
    )
    assert "No held-out question" in report["reasons"][-1]
    assert {found["name"] for found in report["measures"]} == {"perplexity", "general_perplexity", "general"}


async def test_the_card_shows_every_measure_and_what_it_was_trained_with() -> None:
    report = await judged(domain=[[str(n), 180.0 + n, 100] for n in range(20)])
    training = {"method": "lora", "rank": 8, "tokens": 123456, "losses": [[1, 2.0]], "hyper": {"learning_rate": 0.001}}
    text = card.write_card("tiny", "lora", training, report, "12 documents.", None)
    assert text.startswith("# {name}\n")
    assert "| Perplexity of held-out documents | 8.125 | 6.653 | -18.1 % [-18.1, -18.1] ✓ | 20 |" in text
    assert "| tokens | 123,456 |" in text
    assert "| learning rate | 0.001 |" in text
    assert "the base model tiny itself" in text
    assert "12 documents." in text


def test_the_loss_is_drawn(tmp_path: Path) -> None:
    card.draw_losses([[1, 0.7], [2, 0.5]], [[1, 0.5], [2, 0.9]], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
