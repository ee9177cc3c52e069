"""The run that judges passages which have no verdict of the guard of now: written before there were any, or before the
guard changed. Until it comes to them, each is judged with the questions that find it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import runs, verdicts
from assistant.database.session import Sessions
from assistant.guardrails.judging import Judge
from assistant.services import Services
from workers.ingestion.lease import Lease
from workers.ingestion.report import Report

RUN = "judge"  # the kind of the run
BATCH = 256  # passages in one transaction


async def ask_where_due(session: AsyncSession, services: Services) -> bool:
    """Ask for the run where passages lack a verdict; whether they do."""
    guards = services.guards
    if guards is None or not guards.reads_ahead:
        return False
    if not await verdicts.lacks(session, await guards.judge.fingerprint()):
        return False
    await runs.request_alone(session, RUN)
    return True


async def judge(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """``arguments``: none. Begun again, it goes on with what still lacks a verdict."""
    if services.guards is not None and services.guards.reads_ahead:
        await catch_up(services.sessions, services.guards.judge, report, lease)


async def catch_up(sessions: Sessions, judge: Judge, report: Report, lease: Lease) -> None:
    """Judge what lacks a verdict of ``judge``, in the order of the index."""
    name = await judge.fingerprint()
    async with sessions() as session:
        report.total = report.done + await verdicts.count_lacking(session, name)
    after = 0
    while True:
        async with sessions() as session:
            some = await verdicts.lacking(session, name, after, BATCH)
        if not some:
            return
        found = await judge.judged([one.text for one in some])
        async with sessions.begin() as session:
            await verdicts.write(session, {one.chunk_id: each for one, each in zip(some, found, strict=True)})
            report.done += len(some)
            report.chunks += len(some)
            await lease.advance(session, report)
        after = some[-1].chunk_id
