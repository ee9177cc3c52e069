"""Parsing in processes of its own: a file that hangs, swells or crashes ends its process, never the worker.

A few long-lived children take one file after the other. One that dies or runs over its time is replaced, and the file
it held fails with a reason; a file that meets a child worn out by earlier ones gets a second try in a fresh one.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import ParsedDocument
from workers.ingestion.parse import frames
from workers.ingestion.parse.limits import DEFAULT_LIMIT, check_size

ROOT = Path(__file__).parents[3]
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")  # nothing here is secret


@dataclass(frozen=True, slots=True)
class Limits:
    """For one file. ``longest`` bounds what a reader may ask for as it goes from page to page."""

    seconds: float = 120.0
    longest: float = 600.0
    memory: int = 1536 * 2**20


class ParserPool:
    """At most ``size`` files are read at a time; more callers wait. Used from any thread."""

    def __init__(self, size: int = 2, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._places = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def parse(self, name: str, content: bytes, max_bytes: int = DEFAULT_LIMIT) -> ParsedDocument:
        """As ``dispatch.parse``, within the limits. Raises DocumentUnreadable with the reason."""
        check_size(content, max_bytes)  # before it is copied to another process
        with self._places:
            child = self._taken()
            try:
                answer = child.ask(name, content, max_bytes, self._limits)
                if answer is None and child.used:
                    child = _Child(self._limits)
                    answer = child.ask(name, content, max_bytes, self._limits)
            except BaseException:
                child.kill()
                raise
            self._give_back(child, answer)
        if answer is None:
            raise DocumentUnreadable("the file crashes its reader, or needs more memory than one file may take")
        if "reason" in answer:
            raise DocumentUnreadable(str(answer["reason"]))
        return frames.unpacked(answer["document"])

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taken(self) -> _Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Child(self._limits)

    def _give_back(self, child: _Child, answer: dict[str, Any] | None) -> None:
        with self._lock:
            keep = answer is not None and not answer.get("last") and not self._closed
            if keep:
                self._idle.append(child)
        if not keep:
            child.kill()


class _Child:
    def __init__(self, limits: Limits) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "OMP_THREAD_LIMIT": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.ingestion.parse.child", str(limits.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the worker; the child ends when its input does
        )
        self.used = False

    def ask(self, name: str, content: bytes, max_bytes: int, limits: Limits) -> dict[str, Any] | None:
        """The answer; None where the process died of the file. Raises DocumentUnreadable where time ran out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        clock = _Clock(self._process, limits)
        try:
            frames.write(self._process.stdin, {"name": name, "max_bytes": max_bytes}, content)  # type: ignore[arg-type]
            while True:
                answer, _ = frames.read(self._process.stdout)  # type: ignore[arg-type]
                if "extend" not in answer:
                    self.used = True
                    return answer
                clock.extend(float(answer["extend"]))
        except (OSError, EOFError, ValueError):
            if clock.ran_out:
                raise DocumentUnreadable("the file takes too long to read and was given up") from None
            self.kill()
            return None
        finally:
            clock.stop()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what was not yet written has no reader any more
                pass


class _Clock:
    """Kills a process that is not done in time."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self._process = process
        self._last = time.monotonic() + limits.longest
        self.ran_out = False
        self._timer = self._started(limits.seconds)

    def extend(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self._started(min(seconds, self._last - time.monotonic()))

    def stop(self) -> None:
        self._timer.cancel()

    def _started(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(max(seconds, 0.0), self._end)
        timer.daemon = True
        timer.start()
        return timer

    def _end(self) -> None:
        self.ran_out = True
        self._process.kill()


_shared_lock = threading.Lock()
_shared: list[ParserPool] = []


def parse(name: str, content: bytes, max_bytes: int = DEFAULT_LIMIT) -> ParsedDocument:
    """One file through the pool of this process, which starts with the first file and ends with the process."""
    with _shared_lock:
        if not _shared:
            _shared.append(ParserPool())
            atexit.register(_shared[0].close)
    return _shared[0].parse(name, content, max_bytes)
