"""Sources made of others: items that are in memory already, and some of a source's documents once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assistant.knowledge.documents import SourceItem
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Source, slices

PAGE = 50


class Memory:
    """Lists everything in one page, and removes nothing."""

    def __init__(self, items: Mapping[str, SourceItem]) -> None:
        self._items = items

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        return Changes([self._entry(item) for item in self._items.values()])

    async def find(self, external_id: str) -> Entry | None:
        item = self._items.get(external_id)
        return None if item is None else self._entry(item)

    def _entry(self, item: SourceItem) -> Entry:
        async def load(_known: str | None) -> Loaded:
            return Loaded(item.name, item.content)

        return Entry(item.external_id, load, url=item.url, readers=item.readers)


class Again:
    """Some documents of a source once more, by their ids; those that it has no more are gone."""

    def __init__(self, source: Source, external_ids: Sequence[str]) -> None:
        self._source = source
        self._external_ids = external_ids

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        start = cursor["start"] if cursor else 0
        page, more = slices(self._external_ids, start, PAGE)
        entries, gone = [], []
        for external_id in page:
            entry = await self._source.find(external_id)
            if entry is None:
                gone.append(external_id)
            else:
                entries.append(entry)
        next_cursor = {"start": start + PAGE} if more else None
        return Changes(entries, gone, next_cursor, more)

    async def find(self, external_id: str) -> Entry | None:
        return await self._source.find(external_id)
