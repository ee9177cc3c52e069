"""``python -m workers.health``: whether the worker of this machine is alive; exit code 1 and one sentence if not.

A worker touches a file while its event loop goes round. Who asks imports nothing else, for an orchestrator asks every
few seconds: each machine (or container) has one file, by its name, in ``ALMANAC_HOME/beats``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

EVERY = 5.0  # seconds
DEAD = 60.0  # so long without a beat


def file_in(home: Path) -> Path:
    return home / "beats" / f"{socket.gethostname()}.worker"


async def beat(file: Path) -> None:
    """Until cancelled; then the file goes, so that nobody takes a worker that stopped for a living one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            file.touch()  # noqa: ASYNC240 - a moment
            await asyncio.sleep(EVERY)
    finally:
        file.unlink(missing_ok=True)  # noqa: ASYNC240


def wrong(file: Path) -> str | None:
    """What is wrong, in one sentence, or None."""
    try:
        silent = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return "No worker runs on this machine with this ALMANAC_HOME."
    return f"The worker has been silent for {silent:.0f} seconds." if silent > DEAD else None


def main() -> int:
    sentence = wrong(file_in(Path(os.environ.get("ALMANAC_HOME") or ".almanac")))
    if sentence is not None:
        sys.stderr.write(f"{sentence}\n")
    return int(sentence is not None)


if __name__ == "__main__":
    sys.exit(main())
