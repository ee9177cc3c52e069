"""A run and whoever works it off: the workers of the Almanac that runs, or a process of our own for the moment."""

from __future__ import annotations

import asyncio
import uuid

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.queue import RunQueue
from assistant.settings import Settings
from bot import state, worker_process
from bot.worker_process import Watch

POLL_SECONDS = 0.3


async def work_off(settings: Settings, url: str, sessions: Sessions, run_id: uuid.UUID, watch: Watch) -> runs.RunRow:
    """Follow the run to its end, which ``watch`` is told of whenever it is looked at."""
    queue_url = queue_of(settings)
    if queue_url is None:
        return await worker_process.work_off(url, sessions, run_id, watch)
    await enqueue(queue_url, run_id)
    while True:
        async with sessions() as session:
            run = await runs.find(session, run_id)
        assert run is not None
        watch(run)
        if run.finished:
            return run
        await asyncio.sleep(POLL_SECONDS)


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
