"""The runs of ingestion: which source is read, from where on, and how it is taken out again."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import documents as index
from assistant.database import failures, sources
from assistant.database.folders import folder_source, holds_named
from assistant.database.sources import SourceRow
from assistant.errors import AlmanacError
from assistant.services import Services
from workers.ingestion.http import Client
from workers.ingestion.lease import Lease, LeaseLost, SourceBusy
from workers.ingestion.pipeline import Ingestion, Plan
from workers.ingestion.report import Report
from workers.ingestion.sources.folder import readable_name
from workers.ingestion.sources.memory import Again
from workers.ingestion.sources.port import Setting, Source
from workers.ingestion.sources.registry import KINDS

log = structlog.get_logger()


async def ingest(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """``arguments``: ``{"paths": [absolute path, ...]}``, ``{"upload": id}`` or ``{"source": id}``.

    With a source, ``"failures": "due" | "all"`` reads only what failed, once more.
    """
    if "source" in arguments:
        await _source(services, arguments, report, lease)
    elif "upload" in arguments:
        await _upload(services, uuid.UUID(arguments["upload"]), report, lease)
    else:
        for scope, path in enumerate(arguments["paths"]):
            await _path(services, Path(path), report, lease, scope)


async def reconcile(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """``arguments``: ``{"source": id}``. Sync, then compare all: what still differs has drifted, and is mended."""
    async with _held(services, int(arguments["source"]), lease) as row:
        ingestion = _ingestion(services, lease)
        async with _opened(services, row) as source:
            await ingestion.sync(source, _plan(row, keep=True), report)
        before = lease.checkpoint.get("before")
        if before is None:
            before = report.counts()
            async with services.sessions.begin() as session:
                await lease.advance(session, report, scope=1, cursor=None, before=before)
        async with _opened(services, row, thorough=True) as source:
            await ingestion.sync(source, _plan(row, keep=True, start=None, scope=1), report)
    drift = {
        "missing": report.added - before["added"],
        "changed": report.updated - report.access - before["updated"] + before["access"],
        "access": report.access - before["access"],
        "gone": report.removed - before["removed"],
    }
    async with services.sessions.begin() as session:
        await sources.record_drift(session, row.id, drift)
    for what, number in drift.items():
        services.metrics.drift.labels(f"{row.id} {row.name}", what).set(number)
    log.info("source.reconciled", source=row.id, kind=row.kind, **drift)


async def remove_source(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    """``arguments``: ``{"source": id}``. Batch by batch, so that questions go on in between."""
    source_id = int(arguments["source"])
    async with services.sessions.begin() as session:
        known = await sources.listed(session, source_id)
        if known and not await sources.claim(session, source_id, lease.id):
            raise SourceBusy(f"The source {known[0].name} is being read.")
    while True:
        async with services.sessions.begin() as session:
            removed = await sources.remove_some(session, source_id)
            report.removed += removed
            report.total, report.done = report.total + removed, report.done + removed
            await lease.advance(session, report)
        if removed < sources.BATCH:
            return


async def _source(services: Services, arguments: dict[str, Any], report: Report, lease: Lease) -> None:
    async with _held(services, int(arguments["source"]), lease) as row, _opened(services, row) as source:
        ingestion = _ingestion(services, lease)
        if "failures" not in arguments:
            await ingestion.sync(source, _plan(row, keep=True), report)
            return
        async with services.sessions() as session:
            failed = await failures.failures_to_retry(session, row.id, due=arguments["failures"] == "due")
        await ingestion.sync(Again(source, failed), _plan(row, start=None, again=True), report)


async def _path(services: Services, path: Path, report: Report, lease: Lease, scope: int) -> None:
    if not await asyncio.to_thread(path.exists):
        raise AlmanacError(f"{path} does not exist on this machine.")
    whole = await asyncio.to_thread(path.is_dir)
    folder = await asyncio.to_thread(lambda: path.resolve() if whole else path.resolve().parent)
    async with services.sessions.begin() as session:
        source_id, _ = await folder_source(session, readable_name(str(folder)), whole)
    async with _held(services, source_id, lease):
        await _ingestion(services, lease).ingest_path(path, report, scope)


async def _upload(services: Services, upload_id: uuid.UUID, report: Report, lease: Lease) -> None:
    """A shared file; kept until it is read, so that a worker that dies loses nothing."""
    async with services.sessions() as session:
        file = await sources.upload(session, upload_id)
    if file is None:
        return  # read already: by an earlier attempt, or together with another file of its place
    async with _held(services, file.source_id, lease) as row, _opened(services, row) as source:
        await _ingestion(services, lease).sync(source, _plan(row, keep=True), report)


def _ingestion(services: Services, lease: Lease) -> Ingestion:
    guards = services.guards
    judge = guards.judge if guards is not None and guards.reads_ahead else None
    return Ingestion(services.sessions, services.embedder, _max_bytes(services), lease, judge)


def _max_bytes(services: Services) -> int:
    return int(services.settings.file_max_mb * 2**20)


def _plan(row: SourceRow, **more: Any) -> Plan:
    """From where the last sync ended, unless ``more`` says otherwise. Readers named by an option hold for all."""
    fixed = row.config.get("readers")
    values = {"start": row.cursor, "readers": tuple(fixed or row.readers), "fixed": bool(fixed), **more}
    values["shared"] = row.kind not in ("upload", "page", "collection")  # alone, or judged each by itself
    return Plan(row.id, **values)


@asynccontextmanager
async def _held(services: Services, source_id: int, lease: Lease) -> AsyncIterator[SourceRow]:
    """The source, which no other run reads meanwhile. What goes wrong is kept with it."""
    async with services.sessions.begin() as session:
        found = await sources.listed(session, source_id)
        if not found:
            raise AlmanacError(f"There is no source {source_id}.")
        if not await sources.claim(session, source_id, lease.id):
            raise SourceBusy(f"The source {found[0].name} is being read by another run.")
    try:
        yield found[0]
    except AlmanacError as error:
        async with services.sessions.begin() as session:
            await sources.record_error(session, source_id, str(error), lease.id)
        raise
    except (LeaseLost, SQLAlchemyError, OSError):  # no fault of the source's
        raise
    except Exception as error:
        async with services.sessions.begin() as session:
            words = f"It ended with {type(error).__name__}; the worker's log says more."
            await sources.record_error(session, source_id, words, lease.id)
        raise
    finally:
        with contextlib.suppress(SQLAlchemyError, OSError):  # then the end of the lease frees it
            async with services.sessions.begin() as session:
                await sources.release(session, source_id, lease.id, lease.owner)


@asynccontextmanager
async def _opened(services: Services, row: SourceRow, thorough: bool = False) -> AsyncIterator[Source]:
    kind = KINDS.get(row.kind)
    if kind is None:
        raise AlmanacError(f"This version knows no source of kind {row.kind}.")

    async def known(external_ids: Sequence[str]) -> dict[str, str | None]:
        async with services.sessions() as session:
            found = await index.documents_named(session, row.id, external_ids)
        return {external_id: document.version for external_id, document in found.items()}

    async def known_ids() -> list[str]:
        async with services.sessions() as session:
            return sorted(await index.documents_of(session, row.id))

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(services.settings.fetch_allowed_hosts, _max_bytes(services)))
        home = services.settings.home.resolve() / "sources" / str(row.id)
        source = kind(
            Setting(
                row.id, row.location, row.config, services.settings, client, home, known, known_ids,
                services.sessions, thorough,
            )
        )  # fmt: skip
        yield Again(source, await known_ids()) if holds_named(row.config) else source
