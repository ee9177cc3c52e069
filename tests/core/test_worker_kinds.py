"""A worker may take some kinds of runs only, says that it is alive, and nobody takes a silent one for a living one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.queue import QUEUE, RunQueue, queue_of
from tests.core.test_runs import LEASE, ROOT, Workers, create, found, workers
from workers import health

__all__ = ["workers"]


async def test_runs_are_given_by_their_kind(sessions: Sessions) -> None:
    read, train = await create(sessions), await create(sessions, "finetune")
    async with sessions.begin() as session:
        assert await runs.waiting(session) == [read, train]
        assert await runs.waiting(session, ("finetune",)) == [train]
        assert await runs.waiting(session, ("!finetune", "!learn")) == [read]
        assert await runs.claim(session, train, "cpu", LEASE, ("!finetune",)) is None
        assert await runs.claim(session, read, "gpu", LEASE, ("finetune",)) is None
        assert await runs.claim(session, train, "gpu", LEASE, ("finetune",)) is not None


def test_only_a_worker_of_named_kinds_has_a_queue_of_its_own() -> None:
    assert queue_of(()) == queue_of(("!finetune",)) == QUEUE
    assert queue_of(("finetune", "reembed")) == f"{QUEUE}:finetune+reembed"


async def test_a_run_waits_for_the_worker_that_takes_its_kind(workers: Workers, tmp_path: Path) -> None:
    workers.environment["ALMANAC_HOME"] = str(tmp_path / "home")
    beat = health.file_in(tmp_path / "home")
    workers.environment["ALMANAC_WORKER_KINDS"] = "!weigh"
    other = await workers.start()
    run_id = await create(workers.sessions, "weigh")
    queue = RunQueue(workers.redis_url)
    await queue.enqueue(run_id)
    await queue.close()
    async with asyncio.timeout(60):
        while "run.not_free" not in workers.log.read_text():
            await asyncio.sleep(0.1)
    assert (await found(workers.sessions, run_id)).state == "queued"
    assert asked(tmp_path / "home").returncode == 0
    workers.environment["ALMANAC_WORKER_KINDS"] = "weigh"
    workers.environment["ALMANAC_HOME"] = str(tmp_path / "second")
    await workers.start()
    assert (await workers.finished(run_id)).error == "This version knows no run of kind weigh."
    other.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(other.wait(), 30) == 0
    assert not beat.exists()
    assert asked(tmp_path / "home").stderr.startswith("No worker runs")


def test_a_silent_worker_is_dead(tmp_path: Path) -> None:
    beat = health.file_in(tmp_path)
    beat.parent.mkdir()
    beat.touch()
    assert asked(tmp_path).returncode == 0
    then = time.time() - health.DEAD - 5
    os.utime(beat, (then, then))
    answer = asked(tmp_path)
    assert answer.returncode == 1
    assert "The worker has been silent for 6" in answer.stderr


def asked(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.health"], cwd=ROOT, env={**os.environ, "ALMANAC_HOME": str(home)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
