"""A process beside the worker, watched by its heartbeat: started, begun again when it dies, ended when we are.

It holds a lock on its folder through an inherited file. A worker that finds the lock taken ends whoever holds it: a
process whose own worker was killed, since nobody else can have the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from assistant.errors import AlmanacError
from assistant.process import PARENT_PIPE
from workers.finetuning.files import FAILED, STOPPED, read_if_there

log = structlog.get_logger()

POLL_SECONDS = 0.5
STALE_SECONDS = 120.0  # without a heartbeat: it hangs
STARTING_SECONDS = 300.0  # until the first one
STOP_SECONDS = 20.0  # to write a checkpoint when asked to stop
DEATHS = 3  # in a row without getting further

Seen = Callable[[Mapping[str, Any]], Awaitable[None]]


class Stopped(AlmanacError):
    """The process ended because a file ``stop`` in its folder asked it to."""


async def work(command: Sequence[str], folder: Path, progress: str, seen: Seen) -> None:
    """Run the command to its end; ``seen`` is told its progress document whenever it is looked at.

    Cancelled, it stops the process first. Raises AlmanacError with the process's own sentence, or where it died
    several times without getting further.
    """
    deaths, furthest = 0, -1.0
    while True:
        code = await _once(command, folder, progress, seen)
        told = read_if_there(folder / progress)
        if code == 0:
            return
        if code == STOPPED and (folder / "stop").exists():
            raise Stopped("The process was asked to stop.")
        if code == FAILED and told.get("error"):
            raise AlmanacError(str(told["error"]))
        if (place := _place(told)) > furthest:
            deaths, furthest = 0, place
        deaths += 1
        log.warning("finetuning.child_died", command=command[2:3], code=code, deaths=deaths)
        if deaths >= DEATHS:
            raise AlmanacError(f"The process died {deaths} times{_last_words(folder)}")


async def _once(command: Sequence[str], folder: Path, progress: str, seen: Seen) -> int:
    with _locked(folder) as lock, (folder / "process.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            pass_fds=(lock,), env=os.environ | {PARENT_PIPE: "1", "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        (folder / "process.pid").write_text(str(process.pid))
        try:
            await _watched(process, folder / progress, seen)
        finally:
            await asyncio.shield(_ended(process))
    return process.returncode if process.returncode is not None else -1


async def _watched(process: asyncio.subprocess.Process, progress: Path, seen: Seen) -> None:
    started = time.time()
    while True:
        ended = process.returncode is not None
        told = read_if_there(progress)
        beat = float(told.get("heartbeat") or 0.0)
        if beat >= started:
            await seen(told)
        if ended:
            return
        silent = time.time() - max(beat, started)
        if silent > (STALE_SECONDS if beat >= started else STARTING_SECONDS):
            log.warning("finetuning.child_hangs", seconds=round(silent))
            _kill(process.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), POLL_SECONDS)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop, so that it can keep what it has; then end it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        _kill(process.pid)
        await process.wait()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The number of an open file that holds the folder's lock, here and in whoever inherits it."""
    with (folder / "process.lock").open("a") as file:
        for _ in range(100):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                with contextlib.suppress(OSError, ValueError):
                    _kill(int((folder / "process.pid").read_text()))
                time.sleep(0.05)
        else:
            raise AlmanacError(f"Another process works in {folder.name} and does not end.")
        yield file.fileno()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _place(told: Mapping[str, Any]) -> float:
    return float(told.get("step") or told.get("done") or 0.0)


def _last_words(folder: Path) -> str:
    """The last line that it wrote, to end a sentence with."""
    try:
        lines = (folder / "process.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f": {lines[-1][:200]}" if lines else "."
