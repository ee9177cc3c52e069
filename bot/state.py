"""What ``almanac up`` leaves in ``ALMANAC_HOME`` for other commands: a lock while it lives, and where to find it."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from assistant.errors import AlreadyRunning, SettingsError

LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SampleTools:
    """The sample's tools.yaml, where its servers are this time, and the secrets made for this time."""

    file: str
    servers: dict[str, str]
    secrets: dict[str, str]

    def environment(self) -> dict[str, str]:
        """The settings that say the same to a process of ours."""
        return {
            "ALMANAC_TOOLS": self.file,
            "ALMANAC_TOOL_SERVERS": json.dumps(self.servers),
            "ALMANAC_TOOL_SECRETS": json.dumps(self.secrets),
        }


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Where the server of the local model is this time, its key, and the base model's name."""

    url: str
    key: str
    name: str

    def environment(self) -> dict[str, str]:
        """The settings that say the same to a process of ours."""
        return {
            "ALMANAC_LLM": "local",
            "ALMANAC_LLM_BASE_URL": self.url,
            "ALMANAC_LLM_API_KEY": self.key,
            "ALMANAC_LLM_MODEL": self.name,
        }


@dataclass(frozen=True, slots=True)
class Running:
    """A running Almanac. The URLs are those of its servers, embedded or not; ``tools`` is there with the sample,
    ``llm`` where the local model answers."""

    pid: int
    web: str
    database_url: str
    redis_url: str
    tools: SampleTools | None = None
    llm: LocalModel | None = None


@contextmanager
def exclusive(home: Path) -> Iterator[bool]:
    """Hold the home folder; raises ``AlreadyRunning`` where another process does.

    Yields whether the last Almanac here was killed before it could tidy up.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock_file = (home / "up.lock").open("w")
    except OSError as error:
        raise SettingsError(f"ALMANAC_HOME: {home} cannot be written to ({error.strerror}).") from None
    with lock_file as lock:
        if not _locked(lock):
            raise AlreadyRunning(_already(home))
        try:
            yield _file(home).exists()
        finally:
            _file(home).unlink(missing_ok=True)


def _locked(lock: IO[str]) -> bool:
    """Tried for a moment: a command that only looks (``find``) holds the lock, too, as long as it takes to look."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _already(home: Path) -> str:
    other = _read(home)
    where = f" (pid {other.pid}, {other.web})" if other else ""
    return f"Almanac is already running in {home}{where}; `almanac down` stops it."


def publish(home: Path, running: Running) -> None:
    file = _file(home)
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(asdict(running)))
    new.replace(file)


def find(home: Path) -> Running | None:
    """The Almanac that runs in this home now; a file left by one that was killed does not count."""
    if not (home / "up.lock").exists():
        return None
    with (home / "up.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(home)
    return None


def _read(home: Path) -> Running | None:
    try:
        known = json.loads(_file(home).read_text())
        tools, llm = known.pop("tools", None), known.pop("llm", None)
        return Running(
            **known, tools=SampleTools(**tools) if tools else None, llm=LocalModel(**llm) if llm else None
        )  # fmt: skip
    except (OSError, ValueError, TypeError):
        return None


def _file(home: Path) -> Path:
    return home / "up.json"
