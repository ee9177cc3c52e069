"""The runs of ingestion: which source is read, and how it is taken out again."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from assistant.database import documents, sources
from assistant.errors import AlmanacError, DocumentUnreadable
from assistant.knowledge.documents import SourceItem
from assistant.services import Services
from workers.ingestion.page import Fetcher
from workers.ingestion.pipeline import Ingestion, Report


async def ingest(services: Services, arguments: dict[str, Any], report: Report) -> None:
    """``arguments``: ``{"paths": [absolute path, ...]}``, ``{"source": id}`` or ``{"upload": id}``."""
    ingestion = Ingestion(services.sessions, services.embedder, int(services.settings.file_max_mb * 2**20))
    if "source" in arguments:
        await _source(services, ingestion, int(arguments["source"]), report)
    elif "upload" in arguments:
        await _upload(services, ingestion, uuid.UUID(arguments["upload"]), report)
    else:
        for path in arguments["paths"]:
            await _path(ingestion, Path(path), report)


async def _path(ingestion: Ingestion, path: Path, report: Report) -> None:
    if not await asyncio.to_thread(path.exists):
        raise AlmanacError(f"{path} does not exist on this machine.")
    await ingestion.ingest_path(path, report)


async def _source(services: Services, ingestion: Ingestion, source_id: int, report: Report) -> None:
    async with services.sessions() as session:
        found = await sources.listed(session, source_id)
    if not found:
        raise AlmanacError(f"There is no source {source_id}.")
    source = found[0]
    if source.kind == "folder":
        await _path(ingestion, Path(source.location), report)
    elif source.kind == "page":
        await _page(services, ingestion, source, report)
    else:
        raise AlmanacError(f"A source of kind {source.kind} cannot be read again.")
    async with services.sessions.begin() as session:
        await sources.mark_synced(session, source_id)


async def _page(services: Services, ingestion: Ingestion, source: sources.SourceRow, report: Report) -> None:
    """One address. A page that is gone leaves the index; one that cannot be had now stays as it was."""
    fetcher = Fetcher(services.settings.fetch_allowed_hosts, ingestion.max_bytes)
    try:
        page = await fetcher.get(source.location)
    except DocumentUnreadable as error:
        async with services.sessions.begin() as session:
            await documents.record_failure(session, source.id, source.location, None, str(error))
        report.total, report.done = report.total + 1, report.done + 1
        report.failed.append({"path": source.location, "reason": str(error)})
        return
    if page is None:
        async with services.sessions.begin() as session:
            known = await documents.documents_of(session, source.id)
            await documents.remove(session, [document.id for document in known.values()])
        report.removed += len(known)
        return
    item = SourceItem(source.location, page.name, page.content, page.url, tuple(source.readers))
    await ingestion.ingest_items(source.id, {source.location: item}, report)


async def _upload(services: Services, ingestion: Ingestion, upload_id: uuid.UUID, report: Report) -> None:
    """A shared file; kept until it is read, so that a worker that dies loses nothing."""
    async with services.sessions() as session:
        file = await sources.upload(session, upload_id)
        found = await sources.listed(session, file.source_id) if file is not None else []
    if file is None or not found:
        return  # an earlier attempt read it and ended before it could say so, or its source is gone
    item = SourceItem(file.external_id, file.name, file.content, file.url, tuple(found[0].readers))
    await ingestion.ingest_items(file.source_id, {file.external_id: item}, report)
    async with services.sessions.begin() as session:
        await sources.drop_upload(session, upload_id)
        await sources.mark_synced(session, file.source_id)


async def remove_source(services: Services, arguments: dict[str, Any], report: Report) -> None:
    """``arguments``: ``{"source": id}``. Batch by batch, so that questions go on in between."""
    while True:
        async with services.sessions.begin() as session:
            removed = await sources.remove_some(session, int(arguments["source"]))
        report.removed += removed
        report.total, report.done = report.total + removed, report.done + removed
        if removed < sources.BATCH:
            return
