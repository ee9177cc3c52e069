"""The last stages, embed -> write. A document is written in one short transaction, which also says how far we are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import documents as index
from assistant.database import failures, groups, sightings, sources, statistics, vectors
from assistant.database.blocks import Holders
from assistant.database.documents import PreparedDocument
from assistant.database.session import Sessions
from assistant.database.vectors import VectorsMissing
from assistant.knowledge.documents import text_hash
from assistant.knowledge.embedders import embed_missing
from assistant.knowledge.embedding import Embedder
from workers.ingestion.lease import Lease
from workers.ingestion.outcomes import Failed, Flush, Mended, Outcome, PageEnd, Parsed, Touched, Unchanged
from workers.ingestion.report import Report

BATCH = 100  # documents removed in one transaction
DOCUMENTS, CHUNKS = 16, 128  # written in one: a fifth of the statements, and others wait for a few milliseconds

# Postgres need not wait for its disk at every document: what a crash of its machine could take is the last moments of
# the log, documents, progress and cursor alike, and the run goes on from there. The end of a sync does wait.
UNHURRIED = text("SET LOCAL synchronous_commit = off")


async def embed(
    sessions: Sessions, embedder: Embedder, batch: Sequence[Outcome], under_way: set[UUID] | None = None
) -> None:
    """Put the vectors of a batch into the index, in one call, so that texts of like length come together.

    A passage that was ever embedded, in this document or in another, has its vector already. ``under_way``: what
    earlier batches, which are written first, are embedding now.
    """
    under_way = set() if under_way is None else under_way
    parsed = [outcome for outcome in batch if isinstance(outcome, Parsed)]
    texts = [piece.embedded_text(entry.document.title) for entry in parsed for piece in entry.chunks]
    new = {hashed: words for words in texts if (hashed := text_hash(words)) not in under_way}
    under_way.update(new)
    if new:
        await embed_missing(sessions, embedder, new)
    under_way.difference_update(new)


def grouped(outcomes: Sequence[Outcome]) -> Iterator[list[Outcome]]:
    """Groups in order: documents that follow one another, no two with one id; everything else by itself."""
    group: list[Outcome] = []
    ids: set[str] = set()
    chunks = 0
    for outcome in outcomes:
        joins = isinstance(outcome, Parsed) and outcome.item.external_id not in ids
        if group and not (joins and len(ids) < DOCUMENTS and chunks < CHUNKS):
            yield group
            group, ids, chunks = [], set(), 0
        group.append(outcome)
        if isinstance(outcome, Parsed):
            ids.add(outcome.item.external_id)
            chunks += len(outcome.chunks)
        else:
            yield group
            group = []
    if group:
        yield group


def _prepared(outcome: Parsed) -> PreparedDocument:
    item, document, chunks, version = outcome.item, outcome.document, outcome.chunks, outcome.version
    return PreparedDocument(
        item, document, chunks, version=version, keys=outcome.keys, without=outcome.without, judged=outcome.judged
    )  # fmt: skip


class Writing:
    """Writes to one source. ``prefix``: the part of it that a listing of everything is about.

    ``place`` is kept beside the cursor in the checkpoint; its ``scope`` says which part of the run this is; None: this
    is done within another part, and says nothing of its own place. ``keep``: the last cursor is where the source's next
    sync begins. ``refresh`` is called when all has been written, and before the part counts as done; ``learn`` hears
    who holds the blocks of what was written.
    """

    def __init__(
        self, sessions: Sessions, embedder: Embedder, source_id: int, lease: Lease, report: Report,
        prefix: str, keep: bool, place: dict[str, Any] | None, refresh: Callable[[], Awaitable[None]],
        learn: Callable[[Holders], None],
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._embedder = embedder
        self._source_id = source_id
        self._lease = lease
        self._report = report
        self._prefix = prefix
        self._keep = keep
        self._place = place
        self._refresh = refresh
        self._learn = learn

    async def write_all(self, outcomes: Sequence[Outcome], written: Callable[[Outcome], None]) -> None:
        """Write outcomes in their order; ``written`` hears of each. Documents that follow one another go together."""
        for group in grouped(outcomes):
            if len(group) > 1:
                await self._retried(group)
            else:
                await self._write_one(group[0])
            for outcome in group:
                written(outcome)

    async def _write_one(self, outcome: Outcome) -> None:
        if isinstance(outcome, PageEnd):
            await self._end_page(outcome)
        elif isinstance(outcome, Unchanged | Flush):
            return
        elif isinstance(outcome, Failed) and outcome.told:
            self._report.fail(outcome.external_id, outcome.reason)
        else:
            await self._retried([outcome])

    async def _retried(self, group: Sequence[Outcome]) -> None:
        if await self._written(group):
            return
        await embed(self._sessions, self._embedder, group)
        if not await self._written(group):
            raise VectorsMissing("The embedding models changed twice while a document was written.")

    async def _written(self, group: Sequence[Outcome]) -> bool:
        """False when a model has come to the index since the documents were embedded."""
        held: Holders = {}
        try:
            async with self._sessions.begin() as session:
                await session.execute(UNHURRIED)
                if documents := [outcome for outcome in group if isinstance(outcome, Parsed)]:
                    held = await index.replace_all(session, self._source_id, [_prepared(one) for one in documents])
                    parts = {one.item.external_id: one.failed_within for one in documents}
                    if any(one.known or one.failed_within for one in documents):
                        await failures.record_within(session, self._source_id, parts)
                for outcome in group:
                    await self._write(session, outcome)
                    self._count(outcome)
                await self._lease.advance(session, self._report)
        except VectorsMissing:
            return False
        self._learn(held)
        return True

    async def _write(self, session: AsyncSession, outcome: Outcome) -> None:
        """What is no document."""
        if isinstance(outcome, Touched):
            await index.update_access(session, outcome.document_id, outcome.readers, outcome.url, outcome.version)
            if outcome.counted:
                await failures.forget_failure(session, self._source_id, outcome.external_id)
        elif isinstance(outcome, Mended):
            await failures.forget_failure(session, self._source_id, outcome.external_id)
        elif isinstance(outcome, Failed):
            await failures.record_failure(
                session, self._source_id, outcome.external_id, outcome.content_hash, outcome.reason,
                version=outcome.version, transient=outcome.transient, retry_after=outcome.retry_after,
            )  # fmt: skip

    def _count(self, outcome: Outcome) -> None:
        report = self._report
        if isinstance(outcome, Failed):
            report.fail(outcome.external_id, outcome.reason)
            return
        if isinstance(outcome, Touched):
            report.access += outcome.access and outcome.counted
            report.updated += outcome.counted and outcome.told
            report.unchanged += outcome.counted and not outcome.told
            report.done += outcome.counted
            return
        if isinstance(outcome, Parsed) and not outcome.counted:
            return
        report.done += 1
        if isinstance(outcome, Mended):
            report.unchanged += 1
        elif isinstance(outcome, Parsed):
            report.chunks += len(outcome.chunks)
            report.fail_within(outcome.failed_within)
            report.unchanged += outcome.same
            report.updated += outcome.known and not outcome.same
            report.added += not outcome.known

    async def _end_page(self, page: PageEnd) -> None:
        """Deletions, then, in one transaction, everything that says that the page is done."""
        changes, report = page.changes, self._report
        await self._remove_named(changes.deletions)
        last = not changes.more
        async with self._sessions.begin() as session:
            if changes.whole:
                await sightings.see(session, self._lease.id, page.seen)
                for prefix in changes.spared:
                    await sightings.see_below(session, self._lease.id, self._source_id, prefix)
            await groups.replace_members(session, self._source_id, changes.groups)
            if changes.settle is not None:
                await changes.settle(session)
            report.done += page.unchanged
            report.unchanged += page.unchanged
            report.fail_within(page.within)
            place = {} if last or self._place is None else {**self._place, "cursor": changes.cursor}
            await self._lease.advance(session, report, **place)
        if last and self._place is not None:
            await self._end(self._place["scope"], changes.whole, changes.cursor)

    async def _end(self, scope: int, whole: bool, cursor: dict[str, Any] | None) -> None:
        """What a listing of everything has not named is gone; then the sync is at its end."""
        if whole:
            await self._remove_unseen()
        await self._refresh()
        await self._tidy()
        report = self._report
        report.total = max(report.done, report.total if not whole else 0)
        async with self._sessions.begin() as session:
            if whole:
                await failures.forget_unseen_failures(session, self._source_id, self._prefix, self._lease.id)
                await sightings.forget_sightings(session, self._lease.id)
            if self._keep:
                await sources.save_cursor(session, self._source_id, cursor)
            await self._lease.advance(session, report, scope=scope + 1, cursor=None)

    async def _remove_named(self, external_ids: Sequence[str]) -> None:
        for start in range(0, len(external_ids), BATCH):
            some = external_ids[start : start + BATCH]
            async with self._sessions.begin() as session:
                known = await index.documents_named(session, self._source_id, some)
                for external_id in some:
                    await failures.forget_failure(session, self._source_id, external_id)
                await self._remove(session, [document.id for document in known.values()])

    async def _remove_unseen(self) -> None:
        while True:
            async with self._sessions.begin() as session:
                gone = await sightings.unseen(session, self._source_id, self._prefix, self._lease.id, BATCH)
                await self._remove(session, [document.id for document in gone.values()])
            if len(gone) < BATCH:
                return

    async def _remove(self, session: AsyncSession, document_ids: list[int]) -> None:
        await index.remove(session, document_ids)
        self._report.removed += len(document_ids)
        await self._lease.advance(session, self._report)

    async def _tidy(self) -> None:
        """Weights in line with the corpus, and fresh statistics for Postgres' planner."""
        report = self._report
        if not (report.added or report.updated or report.removed or report.chunks):
            return
        async with self._sessions.begin() as session:
            await statistics.reweigh_if_drifted(session)
        async with self._sessions.begin() as session:
            await vectors.sweep(session)
        async with self._sessions.begin() as session:
            await vectors.index_all(session)
        async with self._sessions.begin() as session:
            await session.execute(text("ANALYZE chunks"))
