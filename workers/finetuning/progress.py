"""How far a job is, in ``progress.json``: written at every step, and by a thread while a step takes long."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import structlog

from workers.finetuning.writing import write_whole

log = structlog.get_logger()

FILE = "progress.json"
BEAT = 2.0  # seconds

State = Literal["loading", "estimating", "training", "evaluating", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Times are in seconds, losses in nats a token. ``tokens`` are those trained on so far; ``seconds`` count over all
    attempts. ``error``: one sentence, when ``failed``; ``warning``: what went wrong without ending the job."""

    state: State = "loading"
    step: int = 0
    steps: int = 0
    tokens: int = 0
    tokens_total: int = 0
    loss: float | None = None
    held_out_loss: float | None = None
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    cost_usd: float = 0.0
    cost_usd_total: float | None = None
    resumed_from: int | None = None
    error: str | None = None
    warning: str | None = None
    pid: int = 0
    heartbeat: float = 0.0  # Unix time

    def is_alive(self, within: float = 60.0) -> bool:
        """Whether the process works: it has not ended, and was heard of within so many seconds."""
        return self.state not in ("done", "stopped", "failed") and time.time() - self.heartbeat < within


def read(folder: Path) -> Progress | None:
    """What the job in ``folder`` last said, or None where it has said nothing."""
    try:
        values = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return None
    known = {field.name for field in fields(Progress)}
    return Progress(**{name: value for name, value in values.items() if name in known})


class Reporter:
    """Writes the progress of this process. ``quiet``: of several processes, only the first one writes."""

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self._path, self._quiet = folder / FILE, quiet
        self._lock = threading.Lock()
        self.now = Progress(pid=os.getpid())

    def tell(self, **changed: object) -> None:
        """Change what is known, and write it. A disk that is full stops no training."""
        with self._lock:
            self.now = replace(self.now, **changed, heartbeat=time.time())  # type: ignore[arg-type]
            if self._quiet:
                return
            try:
                write_whole(self._path, json.dumps(asdict(self.now)).encode())
            except OSError as error:
                log.warning("finetuning.progress_not_written", error=error.strerror)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, the heartbeat goes on however long a step takes."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT):
                self.tell()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
