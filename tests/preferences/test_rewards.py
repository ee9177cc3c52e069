"""``almanac eval reward``: what it reads, what it keeps apart, what it says and saves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistant.evaluation.collection import BadCollection
from assistant.evaluation.rewards import halves, read_pairs
from assistant.preferences.reward import load
from bot.evaluating_preferences import app

GOOD, BAD = "Use the deploy command for it.", "I am sorry. I am sorry. I do not know. I do not know."


def pairs(path: Path, count: int = 120) -> Path:
    rows = [
        {"prompt": f"\n\nHuman: Hello {n}\n\nAssistant: Yes?\n\nHuman: How is service {n} restarted?\n\nAssistant:",
         "chosen": f"{GOOD} {n}", "rejected": f"{BAD} {n}", "subset": "even" if n % 2 == 0 else "odd"}
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_of_a_dialogue_the_last_question_counts_and_its_pairs_stay_together(tmp_path: Path) -> None:
    found = read_pairs(pairs(tmp_path / "pairs.jsonl"))
    assert found[3].preferred.better.question == "How is service 3 restarted?"
    taught, held = halves(found + found)
    assert len(taught) + len(held) == 240
    assert 0.25 < len(held) / 240 < 0.55
    assert not {one.dialogue for one in taught} & {one.dialogue for one in held}


def test_what_people_prefer_beats_the_longer_one_and_is_saved(tmp_path: Path) -> None:
    path, saved = pairs(tmp_path / "pairs.jsonl"), tmp_path / "reward.json"
    ran = CliRunner().invoke(app, ["reward", "--pairs", str(path), "--save", str(saved), "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert set(found["tested"]) == {"all", "even", "odd"}
    whole = found["tested"]["all"]
    assert whole["longer_wins"] == 0
    assert whole["learned"] == whole["learned_length_equal"] == 1
    assert whole["pairs"] == found["tested"]["even"]["pairs"] + found["tested"]["odd"]["pairs"]
    assert load(saved).pairs > 10


def test_a_table_is_shown(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["reward", "--pairs", str(pairs(tmp_path / "pairs.jsonl"))])
    assert ran.exit_code == 0, ran.output
    assert "longer wins" in ran.stdout
    assert "odd" in ran.stdout


@pytest.mark.parametrize(
    ("text", "says"), [("", "holds no pair"), ("{", "is not JSON"), ('{"prompt": "a"}', "line 1: a pair has no chosen")]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadCollection, match=says):
        read_pairs(path)
