"""The arq worker: which jobs, which queue, how it starts and stops."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from arq import cron, func
from arq.cron import CronJob
from arq.worker import Worker

from assistant import queue
from assistant.services import open_services
from assistant.settings import Settings
from workers.jobs import judge, learn, reconcile, run, sweep

SWEEP_SECONDS = set(range(0, 60, 5))
LEARN_SECOND = 17  # of every minute
RECONCILE_HOUR = 2  # UTC
MAX_TRIES = 1_000_000  # arq counts deaths of workers, too; the row alone says when a run has failed
JOB_TIMEOUT = 24 * 3600  # a run's own lease tells whether it lives; this only bounds a job that hangs


def create_worker(settings: Settings, database_url: str, redis_url: str) -> Worker:
    """A worker with few runs at a time: the model keeps the cores busy."""
    stack = AsyncExitStack()
    name = queue.queue_of(settings.worker_kinds)

    async def start(ctx: dict[str, Any]) -> None:
        services = open_services(settings, database_url, settings.worker_threads)
        ctx["services"] = await stack.enter_async_context(services)

    async def stop(ctx: dict[str, Any]) -> None:
        await stack.aclose()

    return Worker(
        functions=[func(run, name=queue.JOB, keep_result=0, timeout=JOB_TIMEOUT, max_tries=MAX_TRIES)],
        cron_jobs=_clock(name),
        redis_settings=queue.redis_settings(redis_url),
        queue_name=name,
        on_startup=start,
        on_shutdown=stop,
        max_jobs=2,  # a run, and the sweep or another run beside it
        poll_delay=0.2,
        handle_signals=False,
        health_check_interval=10,
        job_serializer=queue.serialize,
        job_deserializer=queue.deserialize,
        job_completion_wait=10,
    )


def _clock(name: str) -> list[CronJob]:
    """What is done by the clock. arq runs each in one of the workers that share a queue, told by its name."""
    sweeping = cron(sweep, name=f"cron:sweep:{name}", second=SWEEP_SECONDS, run_at_startup=True, keep_result=0)
    comparing = cron(reconcile, hour=RECONCILE_HOUR, minute=30, keep_result=0)
    learning = cron(learn, second=LEARN_SECOND, keep_result=0)  # the sweep queues what this asks for
    judging = cron(judge, hour=RECONCILE_HOUR, minute=10, run_at_startup=True, keep_result=0)
    return [sweeping, comparing, learning, judging] if name == queue.QUEUE else [sweeping]
