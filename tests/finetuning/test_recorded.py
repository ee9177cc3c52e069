"""The pass that a GPU records, run on the CPU as a GPU runs it: always over the same tensors, filled anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.finetuning.test_training import adapter, train, write_job
from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import adapting, recorded, schedule
from workers.finetuning.job import Job
from workers.finetuning.packing import IGNORED, Example, packed
from workers.finetuning.recorded import Shape

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


class Replayed:
    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self.times = 0

    def replay(self) -> None:
        self.times += 1
        self._run()


def test_filled_rows_have_one_shape_and_predict_what_they_did() -> None:
    mixed = random.Random(1)
    examples = []
    for _ in range(60):
        ids = tuple(mixed.randrange(3, 259) for _ in range(mixed.randrange(2, 60)))
        examples.append(Example(ids, tuple(token if mixed.random() < 0.7 else IGNORED for token in ids)))
    job = Job(model="m", base="b", context=64, step_tokens=200)
    steps = schedule.steps(examples, job, "cpu")
    shape = Shape.of(steps, examples)
    shapes = set()
    for pack in (pack for step in steps for pack in step.rows[0]):
        row = packed([examples[index] for index in pack])
        full = shape.fill(row)
        shapes.add(tuple(getattr(full, name).shape for name in recorded.TENSORS))
        used = row.ids.shape[1]
        assert full.ids[0, :used].tolist() == row.ids[0].tolist()
        assert full.positions[0, :used].tolist() == row.positions[0].tolist()
        assert full.scored[: row.counted].tolist() == row.scored.tolist()
        assert full.targets[full.scored[row.counted :]].eq(IGNORED).all()
        assert full.targets[used:].eq(IGNORED).all()
        assert sum(full.lengths) == shape.tokens
        ends = full.bounds.diff()
        assert ends[ends > 0].tolist() == list(full.lengths)
        assert (int(full.bounds[0]), int(full.bounds[-1])) == (0, shape.tokens)
        assert int(ends.max()) <= shape.longest == full.longest
    assert len(shapes) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_job_learns_what_a_plain_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    reports = []
    made: list[Replayed] = []

    def capture(run: Callable[[], None]) -> Replayed:
        made.append(Replayed(run))
        return made[-1]

    for name in ("plain", "recorded"):
        write_job(tmp_path / name, base, precision=precision, epochs=1, learning_rate=2e-3)
        reports.append(train(tmp_path / name))
        monkeypatch.setattr(adapting, "recordable", lambda *_: True)
        monkeypatch.setattr(recorded, "capture", capture)
    plain, again = reports
    (graph,) = made
    assert graph.times >= again["steps"] == plain["steps"]
    near = 1e-4 if precision == "float32" else 0.02
    assert [loss for _, loss in again["losses"]] == pytest.approx([loss for _, loss in plain["losses"]], rel=near)
    if precision == "float32":
        others = adapter(tmp_path / "recorded")
        for key, tensor in adapter(tmp_path / "plain").items():
            torch.testing.assert_close(others[key], tensor, rtol=1e-2, atol=2e-4)


def test_what_cannot_be_recorded_is_handed_out_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_tiny_model(tmp_path / "tiny")

    def capture(run: Callable[[], None]) -> None:
        run()
        raise RuntimeError("operation not permitted when stream is capturing")

    write_job(tmp_path / "job", base)
    monkeypatch.setattr(adapting, "recordable", lambda *_: True)
    monkeypatch.setattr(recorded, "capture", capture)
    held = train(tmp_path / "job")["held_out"]
    assert held["perplexity_after"] < 0.75 * held["perplexity_before"]
