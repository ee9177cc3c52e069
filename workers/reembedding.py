"""The run that makes a new embedding model's vectors."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.knowledge import reembedding
from assistant.services import Services
from workers.ingestion.lease import Lease
from workers.ingestion.report import Report


async def reembed(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """``arguments``: ``{"model": name}``. Begun again, it goes on with what is still lacking."""

    async def done(session: AsyncSession, texts: int, total: int) -> None:
        report.done, report.chunks, report.total = texts, texts, total
        await lease.advance(session, report)

    await reembedding.fill(services.sessions, services.embedder, str(arguments["model"]), done)
