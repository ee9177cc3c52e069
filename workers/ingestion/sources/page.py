"""Source: one page of the web. Gone from its server, it leaves the index; unreachable, it stays as it was."""

from __future__ import annotations

from assistant.errors import DocumentUnreadable
from workers.ingestion.credentials import headers_for
from workers.ingestion.page import NOT_MODIFIED, Fetched, fetch
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, Setting, known_of


class Page:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        entry = await self.find(self._setting.location)
        return Changes([] if entry is None else [entry], whole=True, first=True)

    async def find(self, external_id: str) -> Entry | None:
        """The page as it is now, asked for only if it has changed; None when there is none."""
        setting = self._setting
        known = (await setting.known([external_id])).get(external_id) or ""
        headers = headers_for(setting, setting.location)
        try:
            page = await fetch(setting.client, setting.location, "" if setting.thorough else known, headers)
        except DocumentUnreadable as error:
            return Entry(external_id, failing(error))
        if page is None:
            return None
        return Entry(external_id, given(page))


def given(page: Fetched) -> Load:
    """A loader of what was fetched already."""

    async def load(_known: str | None) -> Loaded | None:
        if page is NOT_MODIFIED:
            return None
        return Loaded(page.name, page.content, page.url, page.version, known_of(modified=page.modified))

    return load


def failing(error: DocumentUnreadable) -> Load:
    """A loader that says why the page could not be had."""

    async def load(_known: str | None) -> Loaded | None:
        raise error

    return load
