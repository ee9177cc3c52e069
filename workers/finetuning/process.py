"""``python -m workers.finetuning FOLDER``: the job in this folder, in a process of its own.

It exits with 0 when the job is done, with 1 when it failed (one sentence on stderr and in ``progress.json``), and with
3 when it was asked to stop, by SIGTERM or by a file ``stop`` in the folder. Started again it goes on where it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import structlog

from assistant.errors import AlmanacError
from workers import language_model
from workers.finetuning.files import FAILED, STOPPED, die_with_parent
from workers.finetuning.job import REPORT, Job, Stopped
from workers.finetuning.progress import Reporter, read

log = structlog.get_logger()

STOP = "stop"
USAGE = "Give the folder of one job: python -m workers.finetuning FOLDER\n"


def command(folder: Path) -> list[str]:
    """What starts the job in ``folder``: on several GPUs, one process on each."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [sys.executable, "-m", "workers.finetuning", str(folder)] if gpus < 2 else launch(folder, gpus)


def launch(folder: Path, processes: int, *others: str) -> list[str]:
    """The same in several processes that share every step; ``others``: of accelerate's options."""
    return [
        sys.executable, "-m", "accelerate.commands.launch", *others, "--num_processes", str(processes),
        "--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", "workers.finetuning", str(folder),
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write(USAGE)
        return FAILED
    folder = Path(arguments[0])
    # Threads that wait at the end of each operation would burn a core that others want, and be late for the next one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
    first = int(os.environ.get("RANK", "0")) == 0  # accelerate's number of this process
    if first:
        die_with_parent()
    asked = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: asked.set())
    if first and (folder / REPORT).is_file():  # it was done before its worker could see that
        return 0
    reporter = Reporter(folder, quiet=not first)
    with reporter.beating():
        return _work(folder, reporter, asked)


def _work(folder: Path, reporter: Reporter, asked: threading.Event) -> int:
    try:
        job = Job.read(folder)
        language_model.check(Path(job.model))  # before the libraries are loaded
        before = read(folder)
        reporter.tell(state="loading", step=before.step if before else 0)
        _train(folder, job, reporter, asked)
    except Stopped as stopped:
        reporter.tell(state="stopped")
        log.info("finetuning.stopped", reason=str(stopped))
        return STOPPED
    except AlmanacError as error:
        return _failed(reporter, str(error))
    except OSError as error:
        return _failed(reporter, f"A file could not be written: {error.strerror or error}.")
    except (RuntimeError, MemoryError) as error:
        log.exception("finetuning.broke_off")
        if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
            return _failed(reporter, "There is not enough memory; smaller step_tokens or a shorter context need less.")
        return _failed(reporter, f"Training broke off: {str(error).splitlines()[0][:200]}.")
    reporter.tell(state="done", seconds_left=0.0)
    return 0


def _failed(reporter: Reporter, sentence: str) -> int:
    reporter.tell(state="failed", error=sentence)
    sys.stderr.write(f"{sentence}\n")
    return FAILED


def _train(folder: Path, job: Job, reporter: Reporter, asked: threading.Event) -> None:
    from accelerate import Accelerator  # type: ignore[import-untyped]

    from workers.finetuning.training import Training

    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # by peft
    accelerator: Any = Accelerator(cpu=job.device == "cpu", mixed_precision="no")

    def stop() -> bool:
        return asked.is_set() or (folder / STOP).exists()

    try:
        Training(folder, job, accelerator, reporter, stop).run()
    finally:
        with contextlib.suppress(RuntimeError):
            accelerator.end_training()
