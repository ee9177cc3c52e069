"""list -> load -> parse -> chunk -> embed -> write, over any source.

Three stages work beside each other: the next documents are loaded and parsed while the last ones are embedded and those
before them written. Order is kept, so that a page's cursor is stored after all that the page named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from assistant.database import blocks, failures, sightings, sources
from assistant.database import documents as index
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.guardrails.judging import Judge
from assistant.knowledge.documents import SourceItem
from assistant.knowledge.embedding import Embedder
from workers.ingestion.lease import Lease, NoLease
from workers.ingestion.outcomes import Failed, Flush, Outcome, PageEnd, Parsed, Unchanged
from workers.ingestion.preparing import Asked, Preparing
from workers.ingestion.report import Report
from workers.ingestion.sharing import Marked, Sharing
from workers.ingestion.sources.folder import Folder, readable_name
from workers.ingestion.sources.memory import Memory
from workers.ingestion.sources.port import Changes, Cursor, Source
from workers.ingestion.writing import Writing, embed

__all__ = ["Ingestion", "Report"]

BATCH_CHUNKS = 192  # embedded together: enough to group texts by length, small enough to show progress
FIRST_CHUNKS = 48  # of the first batch, so that the model need not wait for long
BATCH_SECONDS = 2.0  # what a slow source gives is written that often

Batch = list[Outcome]
Embedding = tuple[Batch, asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync is about. ``readers``: of what names none itself; ``fixed``: of everything, whatever it names.

    ``shared``: what stands on many documents is searched once; not for sources that give a document only once.
    ``anew``: prepare the source's documents again, though they have not changed; what cannot be had stays as it is.
    """

    source_id: int
    start: Cursor | None = None
    prefix: str = ""
    readers: tuple[str, ...] = ("everyone",)
    fixed: bool = False
    keep: bool = False
    again: bool = False
    scope: int = 0
    shared: bool = True
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Ingestion:
    """What a run needs of the process it runs in."""

    sessions: Sessions
    embedder: Embedder
    max_bytes: int
    lease: Lease = field(default_factory=NoLease)
    judge: Judge | None = None  # judges passages ahead of the questions

    async def ingest_path(self, path: Path, report: Report, scope: int = 0) -> None:
        """Bring the index in line with a folder or a file."""
        folder, only = await asyncio.to_thread(_place, path)
        async with self.sessions.begin() as session:
            source_id, prefix = await folder_source(session, readable_name(str(folder)), whole=only is None)
            if only is not None:
                await sources.remember(session, source_id, prefix + readable_name(only))
            [row] = await sources.listed(session, source_id)
        source = Folder(folder, self.max_bytes, prefix, only)
        whole = only is None and not prefix
        fixed = row.config.get("readers")  # the option holds for whatever is read of the source, however it is read
        readers = tuple(fixed or row.readers)
        start = row.cursor if whole else None
        await self.sync(source, Plan(source_id, start, prefix, readers, bool(fixed), keep=whole, scope=scope), report)

    async def ingest_items(
        self, source_id: int, items: Mapping[str, SourceItem], report: Report, readers: Sequence[str] = ("everyone",)
    ) -> None:
        """Index items that are in memory already; removes nothing."""
        await self.sync(Memory(items), Plan(source_id, readers=tuple(readers), shared=False), report)

    async def sync(self, source: Source, plan: Plan, report: Report) -> None:
        """Bring the index in line with the source, from where the run's last attempt stopped."""
        checkpoint = self.lease.checkpoint
        if checkpoint.get("scope", 0) > plan.scope:
            return  # an earlier attempt has done this part
        resumed = checkpoint.get("cursor") if checkpoint.get("scope") == plan.scope else None
        start = resumed if resumed is not None else plan.start
        if resumed is None:
            async with self.sessions.begin() as session:
                start = None if await index.begin_anew(session, plan.source_id) else start
        base = checkpoint["base"] if resumed is not None else report.done
        await _Sync(self, source, plan, report, base).run(start)


class _Sync:
    """One sync at work. ``base``: documents that earlier parts of the run have done."""

    def __init__(self, ingestion: Ingestion, source: Source, plan: Plan, report: Report, base: int) -> None:
        self._ingestion = ingestion
        self._source = source
        self._plan = plan
        self._report = report
        self._sharing = Sharing(ingestion.sessions, plan.source_id)
        shared = self._sharing if plan.shared else None
        self._preparing = Preparing(ingestion.embedder.count_tokens, shared, plan.again, ingestion.judge)
        self._writing = Writing(
            ingestion.sessions,
            ingestion.embedder,
            plan.source_id,
            ingestion.lease,
            report,
            plan.prefix,
            plan.keep,
            None if plan.anew else {"scope": plan.scope, "base": base},
            self._refresh,
            self._sharing.learn,
        )
        self._base = base
        self._forgotten: set[str] = set()
        self._on_the_way: list[set[str]] = []  # ids of pages that are not written yet
        self._written = asyncio.Event()

    async def run(self, start: Cursor | None) -> None:
        async with self._ingestion.sessions() as session:
            self._forgotten = await sources.forgotten(session, self._plan.source_id)
        batches: asyncio.Queue[Batch | None] = asyncio.Queue(1)
        embedded: asyncio.Queue[Embedding | None] = asyncio.Queue(1)
        stages = (self._collect(start, batches), self._embed(batches, embedded), self._write(embedded))
        await together(*stages)

    async def _collect(self, start: Cursor | None, batches: asyncio.Queue[Batch | None]) -> None:
        batch: Batch = []
        chunks, begun, enough = 0, time.monotonic(), FIRST_CHUNKS
        async with aclosing(self._outcomes(start)) as outcomes:
            async for outcome in outcomes:
                batch.append(outcome)
                chunks += len(outcome.chunks) if isinstance(outcome, Parsed) else 0
                full = chunks >= enough or len(batch) >= BATCH_CHUNKS or isinstance(outcome, Flush)
                if full or time.monotonic() - begun > BATCH_SECONDS:
                    await batches.put(batch)
                    batch, chunks, begun, enough = [], 0, time.monotonic(), BATCH_CHUNKS
        await batches.put(batch)
        await batches.put(None)

    async def _embed(self, batches: asyncio.Queue[Batch | None], embedded: asyncio.Queue[Embedding | None]) -> None:
        """A few batches at once: the model's threads begin the next one while the last texts of this are encoded."""
        tasks: set[asyncio.Task[None]] = set()
        texts: set[UUID] = set()
        try:
            while (batch := await batches.get()) is not None:
                work = embed(self._ingestion.sessions, self._ingestion.embedder, batch, texts)
                task = asyncio.create_task(work, name="embed")
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await embedded.put((batch, task))
            await embedded.put(None)
            await asyncio.gather(*tasks, return_exceptions=True)  # whoever writes them sees what went wrong
        finally:
            for task in tasks:
                task.cancel()

    async def _write(self, embedded: asyncio.Queue[Embedding | None]) -> None:
        while (entry := await embedded.get()) is not None:
            batch, embedding = entry
            await embedding
            await self._writing.write_all(batch, self._was_written)
            self._written.set()

    def _was_written(self, outcome: Outcome) -> None:
        if isinstance(outcome, PageEnd):
            self._on_the_way.pop(0)
        elif isinstance(outcome, Parsed):
            self._sharing.settled(outcome.item.external_id)

    async def _refresh(self) -> None:
        """Prepare the marked documents again. That may mark others, where one has changed meanwhile."""
        plan, sessions = self._plan, self._ingestion.sessions
        for untried in (False, True, True, True) if plan.shared else ():
            async with sessions() as session:
                if not await blocks.marked(session, plan.source_id, 0, 1, untried):
                    return
            marked = Marked(self._source, sessions, plan.source_id, untried)
            again = replace(plan, start=None, keep=False, again=False, anew=True)
            await _Sync(self._ingestion, marked, again, self._report, self._base).run(None)

    async def _outcomes(self, start: Cursor | None) -> AsyncGenerator[Outcome, None]:
        cursor = start
        while True:
            changes = await self._source.list_changes(cursor)
            ids = {entry.external_id for entry in changes.upserts} | set(changes.deletions)
            ids |= {external_id for move in changes.moves for external_id in move}
            if changes.first or changes.moves or self._overlaps(ids):
                yield Flush()
                await self._until(lambda: not self._on_the_way)
                await self._begin(changes)
            self._on_the_way.append(ids)
            end = PageEnd(changes, [entry.external_id for entry in changes.upserts], ids=ids)
            asked = await self._asked(changes)
            partly = {one.entry.external_id: one.within for one in asked if one.within and not one.anew}
            async with aclosing(self._preparing.outcomes(asked)) as outcomes:
                async for outcome in outcomes:
                    if isinstance(outcome, Parsed):
                        partly.pop(outcome.item.external_id, None)
                    elif isinstance(outcome, Failed):
                        partly.pop(outcome.external_id, None)
                    if self._plan.anew and isinstance(outcome, Unchanged | Failed):
                        continue
                    if isinstance(outcome, Unchanged):
                        end.unchanged += 1
                    else:
                        yield outcome
            for parts in partly.values():
                end.within.update(parts)
            yield end
            if not changes.more:
                return
            cursor = changes.cursor

    def _overlaps(self, ids: set[str]) -> bool:
        """A document twice: what is known of it is only true once the earlier page is written."""
        return any(not ids.isdisjoint(page) for page in self._on_the_way)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._written.clear()
            await self._written.wait()

    async def _begin(self, changes: Changes) -> None:
        """A listing of everything starts with nothing seen; what has moved keeps its document under the new name."""
        async with self._ingestion.sessions.begin() as session:
            if changes.first:
                await sightings.forget_sightings(session, self._ingestion.lease.id)
            await index.move(session, self._plan.source_id, changes.moves)

    async def _asked(self, changes: Changes) -> list[Asked]:
        """The page's entries, but those that were forgotten, with what is known of each."""
        entries = [entry for entry in changes.upserts if entry.external_id not in self._forgotten]
        report = self._report
        if self._plan.anew:
            pass  # counted already
        elif changes.total is not None:
            report.total = max(report.total, self._base + changes.total)
        else:
            report.total += len(entries)
        ids = [entry.external_id for entry in entries]
        async with self._ingestion.sessions() as session:
            known = await index.documents_named(session, self._plan.source_id, ids)
            failed = await failures.failures_named(session, self._plan.source_id, ids)
            parts = await failures.failures_within(session, self._plan.source_id, list(known)) if known else {}
        asked = []
        for entry in entries:
            own = entry.readers if entry.readers is not None and not self._plan.fixed else self._plan.readers
            name = entry.external_id
            one = Asked(entry, own, known.get(name), failed.get(name), self._plan.anew, parts.get(name, {}))
            if one.known is not None or not one.anew:
                asked.append(one)
        return asked


def _place(path: Path) -> tuple[Path, str | None]:
    """The folder, and the file where only one of it is meant."""
    path = path.resolve()
    return (path, None) if path.is_dir() else (path.parent, path.name)


async def together(*stages: Awaitable[None]) -> None:
    """Run the stages beside each other; the first that fails ends the others, and its error is the one raised."""
    tasks = [asyncio.ensure_future(stage) for stage in stages]
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
