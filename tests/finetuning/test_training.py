"""A job from its folder to its report, in this process and in processes of its own."""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import load_file

from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import checkpoints, estimate, process, progress
from workers.finetuning.checkpoints import Checkpoint
from workers.finetuning.job import BadJob, Job, Stopped
from workers.finetuning.material import write_rows
from workers.finetuning.perplexity import perplexity
from workers.finetuning.progress import Reporter
from workers.finetuning.training import Training, TrainingFailed
from workers.language_model import load

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_job(folder: Path, base: Path, **changed: Any) -> Job:
    """A job on texts that repeat themselves enough for the tiny model to learn something."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in (("train.jsonl", range(60)), ("held_out.jsonl", range(60, 66))):
        rows = [{"id": str(n), "kind": "document", "text": f"Restart pod {n}. " * (2 + n % 5)} for n in numbers]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "model": str(base), "base": "tiny", "context": 128, "step_tokens": 256, "learning_rate": 0.02, "epochs": 2,
        "evaluations": 3, "device": "cpu", "precision": "float32",
    }  # fmt: skip
    job = Job(**{**values, **changed})
    job.write(folder)
    return job


def train(folder: Path, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    reporter = Reporter(folder)
    return Training(folder, Job.read(folder), Accelerator(cpu=True), reporter, stop).run()


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_a_job_leaves_an_adapter_that_peft_loads_and_a_report_that_is_true(tmp_path: Path, base: Path) -> None:
    job = write_job(tmp_path, base, dollars_per_hour=3.6)
    report = train(tmp_path)
    held = report["held_out"]
    assert held["perplexity_after"] < 0.75 * held["perplexity_before"]
    assert report == json.loads((tmp_path / "report.json").read_text())
    plain = load(base, device="cpu")
    rows = job.rows(tmp_path, "held_out.jsonl")
    assert perplexity(plain.model, plain.tokenizer, rows, 128) == pytest.approx(held["perplexity_before"], rel=1e-4)
    tuned = PeftModel.from_pretrained(plain.model, str(tmp_path / "adapter"))
    assert perplexity(tuned, plain.tokenizer, rows, 128) == pytest.approx(held["perplexity_after"], rel=1e-3)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("tiny", 8)
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert report["trained_parameters"] == sum(tensor.numel() for tensor in adapter(tmp_path).values())
    assert report["cost_usd"] == pytest.approx(report["seconds"] * 0.001, abs=1e-4)
    assert len(report["losses"]) == report["steps"] > 20
    assert report["losses"][-1][1] < report["losses"][0][1]
    assert [step for step, _ in report["held_out_losses"]][-1] == report["steps"]
    told = progress.read(tmp_path)
    assert told is not None
    assert (told.step, told.tokens) == (told.steps, told.tokens_total) == (report["steps"], report["tokens"])
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [[row["step"], row["loss"]] for row in lines if "loss" in row] == report["losses"]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_training_stops_early_and_keeps_the_best_step(tmp_path: Path, base: Path) -> None:
    write_job(tmp_path, base, learning_rate=0.9, epochs=4, evaluations=20, patience=2)
    report = train(tmp_path)
    losses = dict(map(tuple, report["held_out_losses"]))
    assert report["stopped_early"] == "patience"
    assert report["steps"] < progress.read(tmp_path).steps  # type: ignore[union-attr]
    assert report["held_out"]["loss_after"] == min(loss for step, loss in losses.items() if step)
    assert losses[report["best_step"]] == report["held_out"]["loss_after"]


def test_a_time_limit_makes_fewer_steps_and_the_rate_still_falls(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))  # a row takes 1 s

    def measured(name: str, limit: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
        write_job(tmp_path / name, base, time_limit=limit, epochs=1)
        report = train(tmp_path / name)
        return report, json.loads((tmp_path / name / "estimate_before.json").read_text())

    whole, expected = measured("whole", None)
    assert expected["seconds"] == pytest.approx(whole["steps"] * 1.0 + 4 * expected["evaluation"], rel=0.2)
    limit = expected["seconds"] - expected["token"] * whole["tokens"] / 2
    part, fitting = measured("part", limit)
    assert whole["steps"] / 3 < part["steps"] == fitting["steps"] < whole["steps"] * 2 / 3
    assert fitting["seconds"] <= limit
    assert part["held_out_losses"][-1][0] == part["steps"]
    with pytest.raises(BadJob, match="Not even one step"):
        measured("none", 0.5)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_job_that_is_stopped_goes_on_to_the_very_same_weights(tmp_path: Path, base: Path, dropout: float) -> None:
    write_job(tmp_path / "whole", base, dropout=dropout)
    whole = train(tmp_path / "whole")
    write_job(tmp_path / "parts", base, dropout=dropout)
    asked = 0

    def third() -> bool:
        nonlocal asked
        asked += 1
        return asked % 9 == 0

    stops = 0
    while True:
        try:
            report = train(tmp_path / "parts", third)
            break
        except Stopped:
            stops += 1
    assert stops >= 2
    for name, tensor in adapter(tmp_path / "whole").items():
        assert torch.equal(tensor, adapter(tmp_path / "parts")[name]), name
    assert report["losses"] == whole["losses"]
    assert report["held_out_losses"] == whole["held_out_losses"]


def test_a_loss_that_is_no_number_ends_the_job_with_a_sentence(tmp_path: Path) -> None:
    broken = save_tiny_model(tmp_path / "model")
    model = load(broken, device="cpu").model
    torch.nn.init.constant_(model.model.norm.weight, math.inf)
    model.save_pretrained(broken)
    write_job(tmp_path / "job", broken)
    with pytest.raises(TrainingFailed, match="not a number at step 1; a lower learning rate"):
        train(tmp_path / "job")


def test_full_training_moves_every_weight(tmp_path: Path, base: Path) -> None:
    write_job(tmp_path, base, method="full", learning_rate=2e-3, precision="bfloat16", epochs=1)
    report = train(tmp_path)
    assert report["trained_parameters"] == report["parameters"] == 90_624
    assert report["held_out"]["loss_after"] < report["held_out"]["loss_before"] - 0.5
    trained, before = load(tmp_path / "adapter", device="cpu"), load(base, device="cpu")
    assert not torch.equal(trained.model.lm_head.weight, before.model.lm_head.weight)


WRONG = [
    ({"rank": 0}, "rank is 0"),
    ({"learning_rate": 2.0}, "learning_rate"),
    ({"dropout": 1.0}, "dropout"),
    ({"method": "half"}, "method is half"),
    ({"time_limit": -1}, "time_limit"),
    ({"colour": "red"}, "colour, which is no part of a job"),
    ({"rank": "many"}, "of the wrong kind"),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG, ids=str)
def test_a_wrong_job_is_named_in_one_sentence(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"model": "m", "base": "b", **changed}))
    with pytest.raises(BadJob) as caught:
        Job.read(tmp_path)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def test_missing_and_unusable_data_are_named(tmp_path: Path, base: Path) -> None:
    with pytest.raises(BadJob, match=r"There is no job\.json"):
        Job.read(tmp_path)
    job = write_job(tmp_path, base)
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(BadJob, match=r"train\.jsonl holds no texts"):
        job.rows(tmp_path, "train.jsonl")
    (tmp_path / "train.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2}\n')
    with pytest.raises(BadJob, match=r"Row 2 of train\.jsonl has neither"):
        job.rows(tmp_path, "train.jsonl")
    long = {"id": "1", "messages": [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "y"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(long) + "\n")
    with pytest.raises(BadJob, match="all 1 are longer than 128 tokens"):
        train(tmp_path)
    write_job(tmp_path, base, targets=("query",))
    with pytest.raises(BadJob, match="no layers named query"):
        train(tmp_path)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        checkpoints.save(tmp_path, Checkpoint({"now/a": torch.tensor([float(step)])}, {"step": step}))
    folders = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert folders == ["step-000006", "step-000009"]
    (tmp_path / "checkpoints" / ".step-000012.77").mkdir()  # of a process that was killed
    file = tmp_path / "checkpoints" / "step-000009" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.state["step"], found.tensors["now/a"].item()) == (6, 6.0)
    assert not list((tmp_path / "checkpoints").glob(".*"))
    file.with_name("state.json").unlink()
    (tmp_path / "checkpoints" / "step-000006" / "state.json").write_text("{")
    assert checkpoints.newest(tmp_path) is None


def test_a_checkpoint_of_another_job_is_refused(tmp_path: Path, base: Path) -> None:
    write_job(tmp_path, base)
    with pytest.raises(Stopped):
        train(tmp_path, lambda: True)
    write_job(tmp_path, base, rank=4)
    with pytest.raises(BadJob, match="belongs to another job"):
        train(tmp_path)


def run(folder: Path, command: list[str], *, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """The real command, with files of at most ``limit`` bytes: what a full disk is, without one."""

    def bound() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, preexec_fn=bound
    )


def test_a_full_disk_costs_checkpoints_and_ends_in_one_sentence(tmp_path: Path, base: Path) -> None:
    write_job(tmp_path, base, checkpoint_every=0.01, epochs=1)
    ended = run(tmp_path, process.command(tmp_path), limit=50_000)  # progress fits, and the adapter does not
    assert ended.returncode == process.FAILED
    assert ended.stderr.strip().splitlines()[-1].startswith("The adapter could not be written")
    told = progress.read(tmp_path)
    assert told is not None
    assert told.state == "failed"
    assert told.error is not None
    assert told.warning is not None
    assert told.warning.startswith("The checkpoint could not be written")
    assert told.step == told.steps > 0
    assert not list((tmp_path / "checkpoints").iterdir())
    assert not (tmp_path / "report.json").exists()
    train(tmp_path)  # there is room again
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_two_processes_of_accelerate_learn_what_one_does(tmp_path: Path, base: Path) -> None:
    write_job(tmp_path / "one", base, epochs=1, context=64, step_tokens=128)
    write_job(tmp_path / "two", base, epochs=1, context=64, step_tokens=128)
    alone = train(tmp_path / "one")
    ended = run(tmp_path / "two", process.launch(tmp_path / "two", 2, "--cpu"))
    assert ended.returncode == 0, ended.stderr[-2000:]
    together = json.loads((tmp_path / "two" / "report.json").read_text())
    assert together["tokens"] == alone["tokens"]
    assert together["held_out"]["loss_before"] == pytest.approx(alone["held_out"]["loss_before"], rel=1e-5)
    assert together["held_out"]["loss_after"] == pytest.approx(alone["held_out"]["loss_after"], abs=0.25)
    assert together["losses"][0][1] == pytest.approx(alone["losses"][0][1], abs=0.2)


def test_a_text_may_hold_any_ends_of_lines(tmp_path: Path) -> None:
    """Those that word processors write, too (U+2028); JSON leaves them as they are."""
    rows = [{"text": "One.\u2028Two.\u0085Three.\u2029Four.\x0bFive.\x1c"}, {"text": "Six.\r\nSeven."}]
    job = Job(model="m", base="b")
    write_rows(tmp_path / job.train, rows)
    assert job.rows(tmp_path, job.train) == rows
