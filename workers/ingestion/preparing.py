"""The first stages, load -> parse -> chunk: from what a source lists to what is to be written.

What is unchanged by version is not loaded, what is unchanged by hash is not parsed; what fails, fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from assistant.database.documents import IndexedDocument
from assistant.database.failures import Failure
from assistant.errors import AlmanacError, DocumentUnreadable
from assistant.guardrails.judging import Judge
from assistant.knowledge.analysis import analysis
from assistant.knowledge.boilerplate import block_keys, readers_key, without
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import ParsedDocument, SourceItem
from workers.ingestion.http import Unavailable
from workers.ingestion.outcomes import Failed, Mended, Outcome, Parsed, Touched, Unchanged
from workers.ingestion.parse import parse
from workers.ingestion.sharing import Sharing
from workers.ingestion.sources.port import Entry, Loaded

log = structlog.get_logger()

AT_ONCE = 4  # documents of a source that are loaded and parsed at a time


@dataclass(frozen=True, slots=True)
class Asked:
    """An entry, what the index holds of it, and how it failed the last time.

    ``anew``: its chunks are to be made again, also where it is the same as ever. ``within``: what of it could not be
    read.
    """

    entry: Entry
    readers: tuple[str, ...]
    known: IndexedDocument | None
    failure: Failure | None
    anew: bool = False
    within: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    """Parsed, and not yet cut. ``keys``: its blocks'."""

    item: SourceItem
    document: ParsedDocument
    version: str | None
    keys: frozenset[int]


class Preparing:
    """``again``: try what has failed before, also where nothing about it has changed. ``sharing`` None: every document
    keeps all of its text. ``judge``: the guard that says of each chunk whether it gives orders to its reader."""

    def __init__(
        self, count_tokens: Callable[[list[str]], list[int]], sharing: Sharing | None = None, again: bool = False,
        judge: Judge | None = None,
    ) -> None:  # fmt: skip
        self._count_tokens = count_tokens
        self._sharing = sharing
        self._again = again
        self._judge = judge

    async def outcomes(self, asked: Sequence[Asked]) -> AsyncGenerator[Outcome, None]:
        """The outcomes in the order of the entries, a few of which are worked on ahead."""
        window: deque[asyncio.Task[Outcome]] = deque()
        try:
            for one in asked:
                settled = self._without_loading(one)
                if settled is not None and not window:
                    yield settled
                    continue
                if settled is None and (lost := _new_readers(one)):
                    yield lost
                window.append(asyncio.create_task(self._settled(settled) if settled else self._loaded(one)))
                if len(window) >= AT_ONCE:
                    yield await window.popleft()
            while window:
                yield await window.popleft()
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)

    def _anew(self, one: Asked) -> bool:
        """Whether it is read, though it has not changed."""
        return one.anew or (self._again and bool(one.within))

    async def _settled(self, outcome: Outcome) -> Outcome:
        return outcome

    def _without_loading(self, one: Asked) -> Outcome | None:
        """The outcome, where the version says it all."""
        entry, known, failure = one.entry, one.known, one.failure
        if entry.version is None or self._anew(one):
            return None
        if failure is not None:
            same = failure.version == entry.version and not failure.transient and not self._again
            return Failed(entry.external_id, failure.reason, told=True) if same else None
        if known is not None and known.version == entry.version and not _outdated(known):
            return _same_content(one, entry.url or known.url, entry.version)
        return None

    async def _loaded(self, one: Asked) -> Outcome:
        entry, known = one.entry, one.known
        try:
            loaded = await entry.load(known.version if known and not one.failure and not self._anew(one) else None)
        except Unavailable as error:
            return Failed(
                entry.external_id, str(error), version=entry.version, transient=True, retry_after=error.retry_after
            )
        except AlmanacError as error:  # a right or a setting that is missing may come; what cannot be read stays so
            passing = not isinstance(error, DocumentUnreadable)
            return Failed(entry.external_id, str(error), version=entry.version, transient=passing)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("document.misunderstood", document=entry.external_id, error=type(error).__name__)
            return Failed(entry.external_id, "the source's answer cannot be understood", version=entry.version)
        if loaded is None:
            if known is None:
                return Unchanged(entry.external_id)
            return _same_content(one, entry.url or known.url, entry.version or known.version)
        read = await asyncio.to_thread(self._read, one, loaded)
        return await self._cut(one, read) if isinstance(read, _Read) else read

    def _read(self, one: Asked, loaded: Loaded) -> Outcome | _Read:
        """Parse, unless the bytes are those that are indexed, or that failed."""
        entry, known, failure = one.entry, one.known, one.failure
        version = loaded.version if loaded.version is not None else entry.version
        item = SourceItem(entry.external_id, loaded.name, loaded.content, loaded.url or entry.url, one.readers)
        content_hash = item.content_hash
        if known is not None and known.content_hash == content_hash and not self._anew(one) and not _outdated(known):
            return _same_content(one, item.url, version)
        if failure is not None and failure.content_hash == content_hash and not failure.transient and not self._again:
            return Failed(entry.external_id, failure.reason, content_hash, version, told=failure.version == version)
        try:
            document = parse(item.name, item.content)
        except DocumentUnreadable as error:
            return Failed(entry.external_id, str(error), content_hash, version)
        document = replace(document, metadata={**loaded.details, **document.metadata})
        return _Read(item, document, version, frozenset(block_keys(document)) if self._sharing else frozenset())

    async def _cut(self, one: Asked, read: _Read) -> Outcome:
        """Into chunks, without what another document keeps for it."""
        mask = readers_key(read.item.readers)
        keys = frozenset(key ^ mask for key in read.keys)
        known = one.known
        left: frozenset[int] = frozenset()
        if self._sharing is not None:
            left = await self._sharing.left_out(read.item.external_id, known.id if known else None, keys)
        shown = without(read.document, {key ^ mask for key in left})
        chunks = await asyncio.to_thread(chunk, shown, self._count_tokens)
        content_hash = read.item.content_hash
        if not chunks:
            if self._sharing is not None:
                self._sharing.settled(read.item.external_id)
            return Failed(one.entry.external_id, "the file holds no text", content_hash, read.version)
        same = known is not None and known.content_hash == content_hash
        counted = not (one.anew and same)
        judged = await self._judge.judged([one.text for one in chunks]) if self._judge is not None else ()
        return Parsed(
            read.item, read.document, chunks, read.version, known is not None, keys, left, counted=counted, same=same,
            judged=judged,
        )  # fmt: skip


def _outdated(known: IndexedDocument) -> bool:
    """Whether its chunks are of another text analysis: it is read again, though it has not changed."""
    return known.analysis != analysis()


def _new_readers(one: Asked) -> Touched | None:
    """A right that was lost takes effect even where the content cannot be had now."""
    known = one.known
    if known is None or set(known.readers) == set(one.readers):
        return None
    return Touched(
        one.entry.external_id, known.id, one.readers, known.url, known.version, access=True, counted=False
    )  # fmt: skip


def _same_content(one: Asked, url: str | None, version: str | None) -> Outcome:
    known, external_id = one.known, one.entry.external_id
    assert known is not None
    access = set(known.readers) != set(one.readers)
    told = access or known.url != url
    if told or known.version != version:
        return Touched(external_id, known.id, one.readers, url, version, access, told=told)
    return Unchanged(external_id) if one.failure is None else Mended(external_id)
