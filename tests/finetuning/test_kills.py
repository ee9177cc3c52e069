"""A job that is killed with SIGKILL, and one that is asked to stop, go on where they were, to the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.finetuning.test_training import ROOT, write_job
from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import process, progress
from workers.finetuning.progress import Progress

PATIENCE = 150.0  # seconds, for a machine with much else to do


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            process.command(folder), cwd=ROOT, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )


def wait_for(folder: Path, running: subprocess.Popen[bytes], step: int) -> Progress:
    """The first progress of this process from ``step`` on."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        told = progress.read(folder)
        if told is not None and told.pid == running.pid and told.state == "training" and told.step >= step:
            return told
        assert running.poll() is None, (folder / "output").read_text()[-2000:]
        time.sleep(0.02)
    raise AssertionError("The job got nowhere.")


def test_killed_and_stopped_a_job_ends_with_the_weights_of_one_that_was_left_alone(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    wanted = {"epochs": 6, "checkpoint_every": 0.05, "evaluations": 4, "patience": 99}
    for name in ("alone", "hunted"):
        write_job(tmp_path / name, base, **wanted)
    alone, hunted = start(tmp_path / "alone"), start(tmp_path / "hunted")

    wait_for(tmp_path / "hunted", hunted, 20)
    hunted.send_signal(signal.SIGKILL)
    assert hunted.wait() == -signal.SIGKILL
    dead = progress.read(tmp_path / "hunted")
    assert dead is not None
    assert dead.state == "training"  # it could not say goodbye
    assert not dead.is_alive(within=0.0)

    hunted = start(tmp_path / "hunted")
    told = wait_for(tmp_path / "hunted", hunted, dead.step + 10)
    assert told.resumed_from is not None
    assert 0 < told.resumed_from <= dead.step
    assert told.is_alive()
    hunted.send_signal(signal.SIGTERM)
    assert hunted.wait(PATIENCE) == process.STOPPED
    stopped = progress.read(tmp_path / "hunted")
    assert stopped is not None
    assert stopped.state == "stopped"
    assert stopped.step < stopped.steps

    assert start(tmp_path / "hunted").wait(PATIENCE) == 0
    assert alone.wait(PATIENCE) == 0
    ended = progress.read(tmp_path / "hunted")
    assert ended is not None
    assert (ended.state, ended.resumed_from) == ("done", stopped.step)  # what it had is not lost
    one, other = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("alone", "hunted"))
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("alone", "hunted")]
    assert reports[0]["losses"] == reports[1]["losses"]
    assert reports[0]["tokens"] == reports[1]["tokens"]


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "is not JSON"), ('{"model": "/nowhere", "base": "b"}', "holds no language")]
)
def test_a_job_that_cannot_begin_says_so_and_exits_with_one(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "job.json").write_text(content)
    running = start(tmp_path)
    assert running.wait(PATIENCE) == process.FAILED
    told = progress.read(tmp_path)
    assert told is not None
    assert told.state == "failed"
    assert sentence in (told.error or "")
    assert (tmp_path / "output").read_text().strip().endswith(told.error or "?")
