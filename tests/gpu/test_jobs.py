"""Jobs on a GPU, from their folder to their report."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel

from workers.finetuning.job import Job, Stopped
from workers.finetuning.perplexity import perplexity
from workers.finetuning.progress import Reporter
from workers.finetuning.training import Training
from workers.language_model import load

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of libraries that are there with a GPU only
]


def write_job(folder: Path, base: Path, **changed: Any) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in (("train.jsonl", range(60)), ("held_out.jsonl", range(60, 66))):
        rows = [{"id": str(n), "kind": "document", "text": f"Restart pod {n}. " * (2 + n % 5)} for n in numbers]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"model": str(base), "base": "tiny", "context": 128, "step_tokens": 256, "learning_rate": 0.02}
    job = Job(**{**values, "epochs": 2, "evaluations": 3, **changed})
    job.write(folder)
    return job


def train(folder: Path, stop: Any = lambda: False) -> dict[str, Any]:
    return Training(folder, Job.read(folder), Accelerator(), Reporter(folder), stop).run()


@pytest.mark.parametrize(
    "changed",
    [{}, {"gradient_checkpointing": True}, {"method": "full", "learning_rate": 3e-3}, {"precision": "float32"}],
    ids=["lora", "checkpointed", "full", "float32"],
)
def test_a_job_learns(tmp_path: Path, tiny_folder: Path, changed: dict[str, Any]) -> None:
    write_job(tmp_path, tiny_folder, **changed)
    report = train(tmp_path)
    held = report["held_out"]
    assert held["perplexity_after"] < 0.75 * held["perplexity_before"]
    assert 0 < report["peak_memory_bytes"] < 2**30


def test_what_it_learned_is_there_on_a_cpu(tmp_path: Path, tiny_folder: Path) -> None:
    job = write_job(tmp_path, tiny_folder)
    held = train(tmp_path)["held_out"]
    plain = load(tiny_folder, device="cpu")
    tuned = PeftModel.from_pretrained(plain.model, str(tmp_path / "adapter"))
    found = perplexity(tuned, plain.tokenizer, job.rows(tmp_path, "held_out.jsonl"), 128)
    assert found == pytest.approx(held["perplexity_after"], rel=0.03)


def test_a_stopped_job_goes_on_where_it_was(tmp_path: Path, tiny_folder: Path) -> None:
    write_job(tmp_path, tiny_folder)
    asked = itertools.count()
    with pytest.raises(Stopped):
        train(tmp_path, lambda: next(asked) > 8)
    report = train(tmp_path)
    assert [step for step, _ in report["losses"]] == list(range(1, report["steps"] + 1))
    assert report["held_out"]["perplexity_after"] < 0.75 * report["held_out"]["perplexity_before"]


def test_a_job_over_four_bits_learns_what_a_plain_base_can_use(tmp_path: Path, tiny_folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    job = write_job(tmp_path, tiny_folder, precision="4bit")
    report = train(tmp_path)
    held = report["held_out"]
    plain = load(tiny_folder, device="cuda", dtype=torch.bfloat16)
    assert report["parameters"] == plain.model.num_parameters()
    assert held["perplexity_after"] < 0.75 * held["perplexity_before"]
    rows = job.rows(tmp_path, "held_out.jsonl")
    before = perplexity(plain.model, plain.tokenizer, rows, 128)
    tuned = PeftModel.from_pretrained(plain.model, str(tmp_path / "adapter"))
    assert perplexity(tuned, plain.tokenizer, rows, 128) < 0.75 * before


def test_pairs_are_learned(tmp_path: Path, tiny_folder: Path) -> None:
    pytest.importorskip("trl")
    from workers.finetuning import dpo
    from workers.finetuning.files import Progress, write_json
    from workers.finetuning.pairs import write_pairs

    messages = [{"role": "user", "content": "Restart it?"}]
    pairs = [{"id": str(n), "messages": messages, "chosen": f"Yes, {n}.", "rejected": f"No! {n}"} for n in range(48)]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    write_json(
        tmp_path / "job.json", {"model": str(tiny_folder), "learning_rate": 5e-3, "epochs": 2, "max_length": 128}
    )
    dpo.train(tmp_path, Progress(tmp_path / "progress.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["device"], report["dtype"]) == ("cuda", "bfloat16")
    assert report["accuracies"][-1][1] > 0.9
