"""``python -m tests.browser`` runs before every test run, so it must never be what breaks one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.browser"]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True, timeout=60, check=False)


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_machine_that_cannot_install_one_is_told_so(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "skipped" in done.stdout


def test_a_browser_that_is_there_is_used(tmp_path: Path) -> None:
    script(tmp_path / "chromium", "exit 0")
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"The browser tests use {tmp_path}/chromium.\n")


def test_an_install_that_fails_fails_nothing_else(tmp_path: Path) -> None:
    script(tmp_path / "apt-get", "exit 100")
    done = run(tmp_path)
    assert done.returncode == 0
    assert "skipped" in done.stdout
