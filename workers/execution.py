"""Runs one run: claim it, keep its lease and progress alive, and close its row, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import runs
from assistant.errors import AlmanacError
from assistant.services import Services
from workers.finetuning.run import finetune
from workers.ingestion.http import Unavailable
from workers.ingestion.judging import judge
from workers.ingestion.lease import LeaseLost, RunLease, SourceBusy
from workers.ingestion.report import Report
from workers.ingestion.runs import ingest, reconcile, remove_source
from workers.preferences.learning import learn
from workers.reembedding import reembed

log = structlog.get_logger()

PROGRESS_SECONDS = 0.5
BUSY_SECONDS = 2.0  # until a run whose source is being read tries again
FIRST_BACKOFF, LAST_BACKOFF = 5.0, 900.0  # seconds until a run is tried again whose source is away

Handler = Callable[[Services, dict[str, Any], Report, RunLease], Awaitable[None]]

KINDS: dict[str, Handler] = {
    "ingest": ingest,
    "reconcile": reconcile,
    "remove_source": remove_source,
    "reembed": reembed,
    "judge": judge,
    "learn": learn,
    "finetune": finetune,
}


async def execute(services: Services, run_id: uuid.UUID) -> None:
    """Work off one run, if nobody else does. May be called twice for the same run with the same effect."""
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    lease = timedelta(seconds=services.settings.lease_seconds)
    async with services.sessions.begin() as session:
        run = await runs.claim(session, run_id, owner, lease, services.settings.worker_kinds)
    if run is None:
        log.info("run.not_free", run=str(run_id))
        return
    log.info("run.start", run=str(run_id), kind=run.kind, attempt=run.attempts)
    report = Report()
    report.restore(run.checkpoint or {})
    try:
        await _work(services, run, RunLease(run_id, owner, dict(run.checkpoint or {})), lease, report)
    except LeaseLost:
        log.warning("run.lost", run=str(run_id))
    except SourceBusy:
        async with services.sessions.begin() as session:
            await runs.postpone(session, run_id, owner, timedelta(seconds=BUSY_SECONDS))
        log.info("run.waits", run=str(run_id))
    except Unavailable as error:
        delay = max(error.retry_after or 0.0, min(FIRST_BACKOFF * 2 ** (run.attempts - 1), LAST_BACKOFF))
        async with services.sessions.begin() as session:
            await runs.release(session, run_id, owner, str(error), timedelta(seconds=delay))
        log.warning("run.postponed", run=str(run_id), error=str(error), seconds=round(delay))
    except AlmanacError as error:
        async with services.sessions.begin() as session:
            await runs.fail(session, run_id, owner, str(error))
        log.warning("run.failed", run=str(run_id), error=str(error))
    except (asyncio.CancelledError, Exception) as error:
        await asyncio.shield(_release(services, run, owner, error))
        raise
    else:
        async with services.sessions.begin() as session:
            await runs.succeed(session, run_id, owner, report.progress(), report.result())
        log.info("run.done", run=str(run_id), **report.progress())


async def _work(services: Services, run: runs.RunRow, held: RunLease, lease: timedelta, report: Report) -> None:
    """The run and its heartbeat; whichever ends first ends the other."""
    handler = KINDS.get(run.kind)
    if handler is None:
        raise AlmanacError(f"This version knows no run of kind {run.kind}.")
    work = asyncio.ensure_future(handler(services, run.arguments, report, held))
    heart = asyncio.create_task(_heartbeat(services, run.id, held.owner, lease, report), name=f"heartbeat-{run.id}")
    try:
        await asyncio.wait({work, heart}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise LeaseLost
        work.result()
    finally:
        for task in (work, heart):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _heartbeat(services: Services, run_id: uuid.UUID, owner: str, lease: timedelta, report: Report) -> None:
    """Ends when the run is no longer ours."""
    while True:
        try:
            async with services.sessions.begin() as session:
                if not await runs.renew(session, run_id, owner, lease, report.progress()):
                    return
        except (SQLAlchemyError, OSError) as error:  # a refused connection is no error of SQLAlchemy's
            log.warning("run.heartbeat_missed", run=str(run_id), error=type(error).__name__)
        await asyncio.sleep(PROGRESS_SECONDS)


async def _release(services: Services, run: runs.RunRow, owner: str, error: BaseException) -> None:
    with contextlib.suppress(SQLAlchemyError, OSError):
        async with services.sessions.begin() as session:
            await runs.release(session, run.id, owner, type(error).__name__)
