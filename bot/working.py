"""A run and whoever works it off: the workers of the Almanac that runs, or a process of our own for the moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import Callable

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.process import PARENT_PIPE
from assistant.queue import RunQueue
from assistant.settings import Settings
from bot import state

STDERR = 2  # standard output is for one JSON document

Watch = Callable[[runs.RunRow], None]


async def work_off(settings: Settings, url: str, sessions: Sessions, run_id: uuid.UUID, watch: Watch) -> runs.RunRow:
    """Follow the run to its end, which ``watch`` is told of whenever it is looked at."""
    queue_url = queue_of(settings)
    if queue_url is not None:
        await enqueue(queue_url, run_id)
        return await follow(sessions, run_id, None, watch)
    worker = await start_worker(url, run_id)
    try:
        return await follow(sessions, run_id, worker, watch)
    finally:
        if worker.returncode is None:
            worker.terminate()
            await worker.wait()


def queue_of(settings: Settings) -> str | None:
    """Where workers listen; None when none do."""
    running = state.find(settings.home)
    if running is not None:
        return running.redis_url
    return settings.redis_url.get_secret_value() if settings.redis_url is not None else None


async def enqueue(queue_url: str, run_id: uuid.UUID) -> None:
    queue = RunQueue(queue_url)
    try:
        await queue.enqueue(run_id)
    finally:
        await queue.close()


async def start_worker(url: str, run_id: uuid.UUID) -> asyncio.subprocess.Process:
    environment = os.environ | {"ALMANAC_DATABASE_URL": url, PARENT_PIPE: "1"}
    environment.setdefault("ALMANAC_LOG_LEVEL", "WARNING")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", "run", str(run_id),
        env=environment, stdin=asyncio.subprocess.PIPE, stdout=STDERR, start_new_session=True,
    )  # fmt: skip


async def follow(
    sessions: Sessions, run_id: uuid.UUID, worker: asyncio.subprocess.Process | None, watch: Watch
) -> runs.RunRow:
    while True:
        gone = worker is not None and worker.returncode is not None
        async with sessions() as session:
            run = await runs.find(session, run_id)
        assert run is not None
        watch(run)
        if run.finished:
            return run
        if gone and run.state == "queued":
            raise AlmanacError("The worker process died; `almanac runs` shows the run.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.wait() if worker is not None and not gone else asyncio.sleep(0.5), 0.3)
