"""The run that learns from votes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import preferences
from assistant.knowledge.embedders import pinned
from assistant.preferences import loop
from assistant.services import Services
from workers.ingestion.lease import Lease, SourceBusy
from workers.ingestion.report import Report

log = structlog.get_logger()


async def learn(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """Makes one version, whatever dies on the way: a second attempt at the run finds it, or makes it anew."""
    async with services.sessions() as session:
        if await preferences.works_already(session, lease.id):
            raise SourceBusy("Another run learns from the votes.")
        made_before = await preferences.of_run(session, lease.id)
    if made_before is not None:
        report.about = about(made_before)
        return

    async def progress(done: int, total: int) -> None:
        report.done, report.total = done, total

    parts = loop.Parts(services.settings, services.sessions, services.searcher, services.embedder)
    made = await loop.make(parts, progress)
    if made is None:
        report.about = {"version": None, "state": "unchanged"}
        return
    async with services.sessions.begin() as session:
        version = await loop.keep(session, lease.id, made, services.settings)
        await lease.advance(session, report)  # ours still: else all of it is rolled back
    report.about = about(version)
    log.info("preferences.learned", **report.about)


async def ask_where_due(session: AsyncSession, services: Services) -> None:
    """Ask for a run where there are votes that nothing was learned from, and the time has come."""
    settings = services.settings
    if settings.preferences != "off" and settings.learn_hours > 0:
        every = timedelta(hours=settings.learn_hours)
        if await preferences.due(session, every, pinned(services.embedder).name):
            await preferences.request(session)


def about(version: preferences.Version) -> dict[str, Any]:
    return {
        "version": version.id, "state": version.state, "reason": version.reason, "votes": version.votes,
        "voters": version.voters, "pairs": version.pairs,
    }  # fmt: skip
