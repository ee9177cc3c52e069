"""What arq calls. Each job opens what it needs and calls one use case."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant import queue, tracing
from assistant.database import blocks, failures, finetuning, runs, sightings, sources
from assistant.preferences import deciding
from workers.execution import execute
from workers.ingestion import judging
from workers.preferences import learning

log = structlog.get_logger()

AWAY_SECONDS, AWAY_ATTEMPTS = 10.0, 25  # within the five minutes that arq gives such a job


async def run(ctx: dict[str, Any], run_id: str, trace: str | None = None) -> None:
    """Work off one run; ``trace`` is that of whoever asked for it."""
    with tracing.span("run", {"almanac.run.id": run_id}, parent=tracing.restored(trace)):
        await execute(ctx["services"], uuid.UUID(run_id))


async def sweep(ctx: dict[str, Any]) -> None:
    """Ask for what is due, and queue again what waits: the queue may have lost it, or its worker died."""
    try:
        async with ctx["services"].sessions.begin() as session:
            for source_id in await sources.take_due(session):
                await runs.request(session, "ingest", source_id)
            for source_id in {
                *await failures.sources_with_failures_due(session),
                *await blocks.take_marked(session),
            }:
                await runs.request(session, "ingest", source_id, failures="due")
            await finetuning.ask_where_due(session, ctx["services"].settings.finetune_days)
            await runs.give_up_exhausted(session)
            waiting = await runs.waiting(session, ctx["services"].settings.worker_kinds)
    except (SQLAlchemyError, OSError) as error:  # the next sweep is seconds away
        log.warning("sweep.database_away", error=type(error).__name__)
        return
    for run_id in waiting:
        await queue.enqueue(ctx["redis"], run_id)


async def learn(ctx: dict[str, Any]) -> None:
    """Once a minute: end a canary where votes have decided; ask for a run that learns, where its time has come."""
    try:
        async with ctx["services"].sessions.begin() as session:
            await deciding.decide(session, ctx["services"].settings)
        async with ctx["services"].sessions.begin() as session:
            await learning.ask_where_due(session, ctx["services"])
    except (SQLAlchemyError, OSError) as error:
        log.warning("learn.database_away", error=type(error).__name__)


async def judge(ctx: dict[str, Any]) -> None:
    """At the start and once a night: have the passages judged that lack a verdict of the guard of now."""
    try:
        async with ctx["services"].sessions.begin() as session:
            await judging.ask_where_due(session, ctx["services"])
    except (SQLAlchemyError, OSError) as error:
        log.warning("judge.database_away", error=type(error).__name__)


async def reconcile(ctx: dict[str, Any]) -> None:
    """Once a night: compare each source that is kept in step with the index, as a whole.

    A database that starts again just then is waited for: the next night is far.
    """
    for attempt in range(1, AWAY_ATTEMPTS + 1):
        try:
            async with ctx["services"].sessions.begin() as session:
                await sightings.forget_lost_sightings(session)
                for source_id in await sources.to_reconcile(session):
                    await runs.request(session, "reconcile", source_id)
        except (SQLAlchemyError, OSError) as error:
            log.warning("reconcile.database_away", error=type(error).__name__, attempt=attempt)
            await asyncio.sleep(AWAY_SECONDS)
        else:
            return
