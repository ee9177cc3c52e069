"""``python -m workers``: the worker. ``python -m workers run ID``: one run here and now, without a queue.

``python -m workers.health`` asks whether the worker of this machine is alive.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from datetime import UTC, datetime

import structlog

from assistant.database import runs
from assistant.errors import AlmanacError, SettingsError
from assistant.process import stop_requested
from assistant.services import Services, open_services
from assistant.settings import Settings, load_settings
from assistant.telemetry import configure_logs
from assistant.tracing import configure_tracing
from workers import health
from workers.execution import execute
from workers.settings import create_worker

log = structlog.get_logger()

NICENESS = 5  # all cores, but not before those who answer questions


async def work(settings: Settings, database_url: str) -> None:
    """Take runs from the queue until asked to stop; what is in flight goes back to the queue."""
    if settings.redis_url is None:
        raise SettingsError("ALMANAC_REDIS_URL is not set; `almanac up` starts a queue and a worker.")
    worker = create_worker(settings, database_url, settings.redis_url.get_secret_value())
    serving = asyncio.create_task(worker.async_run(), name="worker")
    stopping = asyncio.create_task(stop_requested(), name="stop")
    beating = asyncio.create_task(health.beat(health.file_in(settings.home)), name="beat")
    log.info("worker.start", pid=os.getpid())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    worker.handle_sig(signal.SIGTERM)
    await asyncio.gather(serving, return_exceptions=True)
    await worker.close()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    log.info("worker.stop", pid=os.getpid())


async def run_once(settings: Settings, database_url: str, run_id: uuid.UUID) -> None:
    async with open_services(settings, database_url, settings.worker_threads) as services:
        working = asyncio.create_task(_until_settled(services, run_id), name="run")
        stopping = asyncio.create_task(stop_requested(), name="stop")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()
        (failure,) = await asyncio.gather(working, return_exceptions=True)
        if isinstance(failure, Exception):
            log.error("run.broke_off", run_id=str(run_id), exc_info=failure)


async def _until_settled(services: Services, run_id: uuid.UUID) -> None:
    """Without a queue nobody else takes up a run that waits: for its source, or for a server that is away."""
    while True:
        await execute(services, run_id)
        async with services.sessions() as session:
            run = await runs.find(session, run_id)
        if run is None or run.state != "queued" or run.not_before is None:
            return
        await asyncio.sleep(max(0.1, (run.not_before - datetime.now(UTC)).total_seconds()))


def main(arguments: list[str]) -> int:
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        if settings.database_url is None:
            raise SettingsError("ALMANAC_DATABASE_URL is not set; `almanac up` starts a database and a worker.")
        url = settings.database_url.get_secret_value()
        os.nice(NICENESS)
        end_traces = configure_tracing(settings, "almanac-worker")
        try:
            if arguments[:1] == ["run"] and len(arguments) == 2:
                asyncio.run(run_once(settings, url, uuid.UUID(arguments[1])))
            else:
                asyncio.run(work(settings, url))
        finally:
            end_traces()
    except AlmanacError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
