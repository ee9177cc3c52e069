"""DPO: pairs are read and split, preferences are really learned, and a killed process goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import dpo, measuring
from workers.finetuning.files import Progress, read_json, write_json
from workers.finetuning.pairs import BadPairs, read_pairs, split, tokenized, turns, write_pairs
from workers.language_model import load

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # by peft
ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue", "grey", "brown", "white", "black", "pink")


def preferences(count: int = 48) -> list[dict[str, Any]]:
    """Polite replies are preferred to rude ones, whatever the prompt."""
    return [
        {
            "id": f"pair-{n}",
            "messages": [{"role": "user", "content": f"What is {COLOURS[n % 8]} {n}?"}],
            "chosen": f"Please: a colour. {n % 5}",
            "rejected": f"No! Go away. {n % 7}",
        }
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def job(folder: Path, model: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_pairs(folder / "pairs.jsonl", rows)
    write_json(folder / "job.json", {"model": str(model), "learning_rate": 5e-3, "rank": 4, "warmup": 1, **more})
    return folder


def test_prompts_become_turns() -> None:
    assert turns("\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:") == [
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And now?"},
    ]
    assert turns("Just this") == [{"role": "user", "content": "Just this"}]


def test_a_file_of_pairs_is_read_or_its_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    same = {"prompt": "a", "chosen": "x", "rejected": "x "}
    empty = {"prompt": "a", "chosen": "", "rejected": "y"}
    one = {"prompt": "a", "chosen": "x", "rejected": "y"}
    path.write_text("\n".join(json.dumps(row) for row in (one, same, empty)))
    (pair,) = read_pairs(path)
    assert pair["messages"] == [{"role": "user", "content": "a"}]
    assert len(pair["id"]) == 12
    path.write_text('{"prompt": "a", "chosen": "x", "rejected": "y"}\n{"prompt": "a", "chosen": "x"}\n')
    with pytest.raises(BadPairs, match="line 2: a pair needs chosen and rejected"):
        read_pairs(path)
    path.write_text('{"chosen": "x", "rejected": "y"}\n')
    with pytest.raises(BadPairs, match="line 1: a pair needs a prompt"):
        read_pairs(path)


def test_the_same_prompt_is_always_on_one_side() -> None:
    rows = preferences(200)
    rows += [{**row, "id": f"{row['id']}-again", "chosen": "Another."} for row in rows]
    train, held_out = split(rows)
    assert len(train) + len(held_out) == len(rows)
    assert 0.1 < len(held_out) / len(rows) < 0.3
    asked = [{json.dumps(row["messages"]) for row in side} for side in (train, held_out)]
    assert not asked[0] & asked[1]
    assert split(rows) == (train, held_out)


def test_only_the_reply_counts_and_what_is_too_long_is_left_out(model: Path) -> None:
    tokenizer = load(model).tokenizer
    long = {**preferences(1)[0], "id": "long", "chosen": "word " * 200}
    (row,) = tokenized([*preferences(1), long], tokenizer, 128)
    assert tokenizer.decode(row["prompt"]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(row["chosen"]) == "Please: a colour. 0<|im_end|>"


def test_preferences_are_learned_and_hold_for_pairs_it_has_not_seen(model: Path, tmp_path: Path) -> None:
    rows = preferences()
    train, held_out = split(rows)
    folder = job(tmp_path / "job", model, train, epochs=3)
    dpo.train(folder, Progress(folder / "progress.json"))
    report = read_json(folder / "report.json")
    assert report["steps"] == report["planned_steps"] == 3 * -(-len(train) // 8)
    assert report["trained_parameters"] < report["parameters"]
    assert report["losses"][0][1] == pytest.approx(0.6931, abs=1e-3)  # ln 2: the policy is still its own reference
    assert report["losses"][-1][1] < 0.5
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert read_json(folder / "adapter" / "adapter_config.json")["base_model_name_or_path"] == "tiny"
    arms = measuring.Arms(load(model), {"before": None, "after": folder / "adapter"})
    pairs = tokenized(held_out, arms.tokenizer, 512)
    margins = []
    with arms.turn("before") as before:
        old = measuring.pair_cases(before, pairs)
    with arms.turn("after") as after:
        new = measuring.pair_cases(after, pairs)
    for (_, chosen, rejected), (_, was_chosen, was_rejected) in zip(new, old, strict=True):
        margins.append((chosen - was_chosen) - (rejected - was_rejected))
    assert min(margins) > 0


def test_it_starts_from_the_adapter_that_it_is_given(model: Path, tmp_path: Path) -> None:
    rows = preferences(16)
    first = job(tmp_path / "first", model, rows)
    dpo.train(first, Progress(first / "progress.json"))
    second = job(tmp_path / "second", model, rows, start=str(first / "adapter"), learning_rate=0.0)
    dpo.train(second, Progress(second / "progress.json"))
    import safetensors.torch

    one, two = (safetensors.torch.load_file(f / "adapter" / "adapter_model.safetensors") for f in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(tensor.abs().max() > 0 for name, tensor in two.items() if "lora_B" in name)


def test_a_killed_process_goes_on_from_its_checkpoint(model: Path, tmp_path: Path) -> None:
    folder = job(tmp_path / "job", model, preferences(64), epochs=20, save_every=3)
    command = [sys.executable, "-m", "workers.finetuning.dpo", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not list(folder.glob("checkpoints/*/trainer_state.json")):
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        torn = folder / "checkpoints" / "checkpoint-9999"  # killed while one was written
        torn.mkdir()
        (torn / "adapter_model.safetensors").write_bytes(b"half")
    job(folder, model, preferences(64), epochs=1, save_every=3)
    dpo.train(folder, Progress(folder / "progress.json"))
    report = read_json(folder / "report.json")
    assert report["resumed"] is True
    assert report["steps"] >= 8
    assert report["losses"][0][0] == 1  # of the first attempt
    assert read_json(folder / "progress.json")["steps"] == 8
    assert not torn.exists()


def test_time_that_is_up_ends_it_with_an_adapter(model: Path, tmp_path: Path) -> None:
    folder = job(tmp_path / "job", model, preferences(64), epochs=500, time_limit=1.0)
    dpo.train(folder, Progress(folder / "progress.json"))
    report = read_json(folder / "report.json")
    assert report["stopped_early"] == "time_limit"
    assert 0 < report["steps"] < report["planned_steps"]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
