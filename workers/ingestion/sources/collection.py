"""Source: the documents of a judged collection (see ``assistant.evaluation.collection``), each under its own id."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

from assistant.evaluation.collection import items
from assistant.knowledge.documents import SourceItem
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Setting

PAGE = 500


class Collection:
    """Lists everything that holds text, page by page; removes nothing, because it is read once."""

    def __init__(self, setting: Setting) -> None:
        self._folder = Path(setting.location)
        self._total: int | None = setting.config.get("documents")

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        start = cursor["start"] if cursor else 0
        page = await asyncio.to_thread(lambda: list(islice(items(self._folder, start), PAGE)))
        more = len(page) == PAGE
        next_cursor = {"start": page[-1][1]} if more else None
        return Changes([_entry(item) for item, _ in page], cursor=next_cursor, more=more, total=self._total)

    async def find(self, external_id: str) -> Entry | None:
        def seek() -> SourceItem | None:
            return next((item for item, _ in items(self._folder) if item.external_id == external_id), None)

        item = await asyncio.to_thread(seek)
        return None if item is None else _entry(item)


def _entry(item: SourceItem) -> Entry:
    async def load(_known: str | None) -> Loaded:
        return Loaded(item.name, item.content)

    return Entry(item.external_id, load, url=item.url)
