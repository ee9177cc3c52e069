"""load -> parse -> chunk -> embed -> write, over any source's items.

Reading and parsing run in a thread, the model in its own; each document is written in one short transaction. What is
unchanged by hash is not parsed; what fails, fails alone and leaves its reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from assistant.database import documents as index
from assistant.database import sources
from assistant.database.documents import IndexedDocument, PreparedDocument
from assistant.database.session import Sessions
from assistant.errors import DocumentUnreadable
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder
from workers.ingestion.folder import Scope, files, load, readable_name
from workers.ingestion.parse import parse

log = structlog.get_logger()

BATCH_CHUNKS = 192  # embedded together: enough to group texts by length, small enough to show progress


@dataclass(slots=True)
class Report:
    """How a run stands; published while it goes on."""

    total: int = 0
    done: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def progress(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "done": self.done,
            "chunks": self.chunks,
            "failed": len(self.failed),
            "seconds": round(time.monotonic() - self.started, 2),
        }

    def result(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("added", "updated", "unchanged", "removed")}
        seconds = round(time.monotonic() - self.started, 2)
        return {"documents": counts, **counts, "failed": self.failed, "chunks": self.chunks, "seconds": seconds}


@dataclass(frozen=True, slots=True)
class _Parsed:
    item: SourceItem
    document: ParsedDocument
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True)
class Ingestion:
    """What a run needs of the process it runs in."""

    sessions: Sessions
    embedder: Embedder
    max_bytes: int

    async def ingest_path(self, path: Path, report: Report) -> None:
        """Bring the index in line with a folder or a file."""
        scope = Scope.of(path)
        async with self.sessions.begin() as session:
            source_id, prefix = await index.folder_source(session, readable_name(str(scope.folder)))
        found = await asyncio.to_thread(lambda: list(files(scope)))
        paths = {prefix + readable_name(path.relative_to(scope.folder).as_posix()): path for path in found}
        async with self.sessions.begin() as session:
            if scope.only is not None:
                await sources.remember(session, source_id, next(iter(paths)))
            gone = await sources.forgotten(session, source_id)
            known = await index.documents_of(session, source_id, prefix)
            failures = await index.failures_of(session, source_id, prefix)
        paths = {external_id: path for external_id, path in paths.items() if external_id not in gone}
        report.total += len(paths)

        def read(external_id: str) -> SourceItem:
            return load(paths[external_id], external_id, self.max_bytes)

        await self._ingest(source_id, list(paths), read, known, failures, report)
        if scope.only is None:
            await self._remove_missing(source_id, prefix, known, set(paths), report)
            if not prefix:
                async with self.sessions.begin() as session:
                    await sources.mark_synced(session, source_id)
        await self._tidy(report)

    async def ingest_items(self, source_id: int, items: dict[str, SourceItem], report: Report) -> None:
        """Index items that are in memory already; removes nothing."""
        report.total += len(items)
        async with self.sessions() as session:
            known = await index.documents_of(session, source_id)
        await self._ingest(source_id, list(items), items.__getitem__, known, {}, report)
        await self._tidy(report)

    async def _ingest(
        self,
        source_id: int,
        external_ids: list[str],
        read: Callable[[str], SourceItem],
        known: dict[str, IndexedDocument],
        failures: dict[str, tuple[str | None, str]],
        report: Report,
    ) -> None:
        """Prepare the next batch while the last one is embedded and written."""
        batches = self._batches(source_id, external_ids, read, known, failures, report)
        pending: asyncio.Task[None] | None = None
        try:
            while batch := await asyncio.to_thread(next, batches, None):
                if pending is not None:
                    await pending
                pending = asyncio.create_task(self._write(source_id, batch, known, report))
            if pending is not None:
                await pending
        finally:
            if pending is not None and not pending.done():
                pending.cancel()

    def _batches(
        self,
        source_id: int,
        external_ids: list[str],
        read: Callable[[str], SourceItem],
        known: dict[str, IndexedDocument],
        failures: dict[str, tuple[str | None, str]],
        report: Report,
    ) -> Iterator[list[_Outcome]]:
        batch: list[_Outcome] = []
        chunks = 0
        for external_id in external_ids:
            outcome = self._prepare(external_id, read, known.get(external_id), failures.get(external_id))
            if outcome is None:
                report.unchanged += 1
                report.done += 1
                continue
            batch.append(outcome)
            chunks += len(outcome.chunks) if isinstance(outcome, _Parsed) else 0
            if chunks >= BATCH_CHUNKS or len(batch) >= BATCH_CHUNKS:
                yield batch
                batch, chunks = [], 0
        if batch:
            yield batch

    def _prepare(
        self,
        external_id: str,
        read: Callable[[str], SourceItem],
        known: IndexedDocument | None,
        failure: tuple[str | None, str] | None,
    ) -> _Outcome | None:
        """What became of one file; None: it is unchanged, and nothing is to be written."""
        content_hash = None
        try:
            item = read(external_id)
            content_hash = item.content_hash
            if known is not None and known.content_hash == content_hash:
                same = known.readers == item.readers and known.url == item.url
                if not same:
                    return _Moved(item, known.id)
                return None if failure is None else _Mended(external_id)
            if failure is not None and failure[0] == content_hash:
                return _Failed(external_id, content_hash, failure[1])  # the same bytes fail the same way
            document = parse(item.name, item.content)
            chunks = chunk(document, self.embedder.count_tokens)
            if not chunks:
                raise DocumentUnreadable("the file holds no text")
            return _Parsed(item, document, chunks)
        except DocumentUnreadable as error:
            return _Failed(external_id, content_hash, str(error))

    async def _write(
        self, source_id: int, batch: list[_Outcome], known: dict[str, IndexedDocument], report: Report
    ) -> None:
        parsed = [outcome for outcome in batch if isinstance(outcome, _Parsed)]
        texts = [_embedded_text(piece, entry.document) for entry in parsed for piece in entry.chunks]
        vectors = await self.embedder.embed(texts)
        position = 0
        for outcome in batch:
            async with self.sessions.begin() as session:
                if isinstance(outcome, _Parsed):
                    rows = vectors[position : position + len(outcome.chunks)]
                    position += len(outcome.chunks)
                    prepared = PreparedDocument(outcome.item, outcome.document, outcome.chunks, rows)
                    await index.replace(session, source_id, prepared)
                elif isinstance(outcome, _Moved):
                    await index.update_access(session, outcome.document_id, outcome.item)
                    await index.forget_failure(session, source_id, outcome.item.external_id)
                elif isinstance(outcome, _Mended):
                    await index.forget_failure(session, source_id, outcome.external_id)
                else:
                    await index.record_failure(
                        session, source_id, outcome.external_id, outcome.content_hash, outcome.reason
                    )
            _count(outcome, known, report)

    async def _remove_missing(
        self, source_id: int, prefix: str, known: dict[str, IndexedDocument], present: set[str], report: Report
    ) -> None:
        gone = [document.id for external_id, document in known.items() if external_id not in present]
        for start in range(0, len(gone), 100):
            async with self.sessions.begin() as session:
                await index.remove(session, gone[start : start + 100])
        report.removed += len(gone)
        async with self.sessions.begin() as session:
            await index.forget_missing_failures(session, source_id, prefix, sorted(present))

    async def _tidy(self, report: Report) -> None:
        """Weights in line with the corpus, and fresh statistics for Postgres' planner."""
        if not (report.added or report.updated or report.removed):
            return
        async with self.sessions.begin() as session:
            await index.reweigh_if_drifted(session)
        async with self.sessions.begin() as session:
            await session.execute(text("ANALYZE chunks"))


@dataclass(frozen=True, slots=True)
class _Failed:
    external_id: str
    content_hash: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Moved:
    item: SourceItem
    document_id: int


@dataclass(frozen=True, slots=True)
class _Mended:
    """A file that failed and is again what the index holds."""

    external_id: str


_Outcome = _Parsed | _Failed | _Moved | _Mended


def _embedded_text(piece: Chunk, document: ParsedDocument) -> str:
    return f"{piece.context(document.title)}\n{piece.text}"


def _count(outcome: _Outcome, known: dict[str, IndexedDocument], report: Report) -> None:
    report.done += 1
    if isinstance(outcome, _Parsed):
        report.chunks += len(outcome.chunks)
        if outcome.item.external_id in known:
            report.updated += 1
        else:
            report.added += 1
    elif isinstance(outcome, _Moved):
        report.updated += 1
    elif isinstance(outcome, _Mended):
        report.unchanged += 1
    else:
        report.failed.append({"path": outcome.external_id, "reason": outcome.reason})
