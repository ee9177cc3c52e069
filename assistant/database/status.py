"""What the index holds and how the work stands, for ``status`` and the metrics."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Answer, CorpusStatistics, Document, DocumentFailure, Run, Source
from assistant.knowledge.analysis import analysis


async def counts(session: AsyncSession) -> dict[str, int]:
    """Documents, chunks, sources, failures, answers, open runs, and documents that another text analysis made (they
    answer as they are until their source is synced), in one statement."""

    def number(table: Any, *where: Any) -> Any:
        return select(func.count()).select_from(table).where(*where).scalar_subquery()

    statement = select(
        number(Document).label("documents"),
        select(CorpusStatistics.chunks).scalar_subquery().label("chunks"),
        number(Source).label("sources"),
        number(DocumentFailure).label("failures"),
        number(Answer).label("answers"),
        number(Run, Run.state.in_(("queued", "running"))).label("runs_open"),
        number(Document, Document.analysis != analysis()).label("outdated"),
    )
    return dict((await session.execute(statement)).mappings().one())


async def recent_runs(session: AsyncSession, limit: int = 5) -> list[dict[str, Any]]:
    columns = (Run.id, Run.kind, Run.state, Run.progress, Run.error, Run.created_at, Run.finished_at)
    rows = await session.execute(select(*columns).order_by(Run.created_at.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]
