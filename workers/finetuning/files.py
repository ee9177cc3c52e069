"""What the processes of fine-tuning share with the worker that watches them: JSON in a folder, and a parent's life."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.process import PARENT_PIPE

FAILED = 1  # exit code of a failure; one that was expected is a sentence in the progress, too
STOPPED = 3  # exit code of one that was asked to stop, and goes on when it is started again
ORPHANED = 4
BEAT_SECONDS = 2.0


def read_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def read_if_there(path: Path) -> dict[str, Any]:
    """The document, or an empty one where there is none yet."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Whoever reads sees the old document or the new one, never a part."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(path)


def die_with_parent() -> None:
    """End at once when the worker that started us is gone, also by SIGKILL: standard input is a pipe it holds open."""
    if os.environ.get(PARENT_PIPE) != "1":
        return

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=wait, name="parent", daemon=True).start()


class Progress:
    """A document that says how far a process is, written at every change and, with its heartbeat, every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._document: dict[str, Any] = {"pid": os.getpid(), "error": None}
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def tell(self, **fields: Any) -> None:
        with self._lock:
            self._document.update(fields)
            seconds = round(time.monotonic() - self._begun, 2)
            write_json(self._path, {"seconds": seconds, **self._document, "heartbeat": time.time()})

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            self.tell()


def main_of(work: Callable[[Path, Progress], None], arguments: Sequence[str], name: str) -> int:
    """The exit code of ``work`` on the folder that was named; it tells how far it is in the folder's ``name``."""
    if len(arguments) != 1:
        sys.stderr.write("Give the folder of one job.\n")
        return FAILED
    die_with_parent()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # by peft
    progress = Progress(Path(arguments[0]) / name)
    progress.tell(state="loading")
    try:
        work(Path(arguments[0]), progress)
    except AlmanacError as error:
        progress.tell(state="failed", error=str(error))
        sys.stderr.write(f"{error}\n")
        return FAILED
    progress.tell(state="done")
    return 0
