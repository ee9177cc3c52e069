"""The lock of a home: one Almanac holds it, and who only looks keeps nobody out."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from assistant.errors import AlreadyRunning
from bot import state


def test_who_only_looks_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``find`` does, held for a little longer."""
    monkeypatch.setattr(state, "LOOK_SECONDS", 60.0)  # however slow this machine is
    with (tmp_path / "up.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        leaving = threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN))
        leaving.start()
        try:
            with state.exclusive(tmp_path):
                pass
        finally:
            leaving.join()


def test_there_is_one_at_a_time(tmp_path: Path) -> None:
    with state.exclusive(tmp_path), pytest.raises(AlreadyRunning), state.exclusive(tmp_path):
        pass
