"""Source: files that people shared in one conversation of Slack or Teams, kept in the database until they are read."""

from __future__ import annotations

import uuid

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import sources
from assistant.errors import DocumentUnreadable
from workers.ingestion.sources.port import Changes, Cursor, Entry, Loaded, Setting, slices

PAGE = 20


class Uploads:
    """What was not read yet. A file that was shared again later takes the place of the earlier one."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        async with self._setting.sessions() as session:
            waiting = await sources.uploads_of(session, self._setting.id)
        page, more = slices(waiting, 0, PAGE)
        entries: dict[str, Entry] = {}
        for upload_id in page:
            entry = await self._entry(upload_id)
            if entry is not None:
                entries[entry.external_id] = entry

        async def settle(session: AsyncSession) -> None:
            for upload_id in page:
                await sources.drop_upload(session, upload_id)

        return Changes(list(entries.values()), cursor={}, more=more, settle=settle)

    async def find(self, external_id: str) -> Entry | None:
        """A file is read once: what failed can only be shared again, and what is indexed stays."""
        return Entry(external_id, _read_already)

    async def _entry(self, upload_id: uuid.UUID) -> Entry | None:
        async with self._setting.sessions() as session:
            file = await sources.upload(session, upload_id)
            if file is None:
                return None
            loaded = Loaded(file.name, file.content)

            async def load(_known: str | None) -> Loaded:
                return loaded

            return Entry(file.external_id, load, url=file.url)


async def _read_already(_known: str | None) -> Loaded | None:
    raise DocumentUnreadable("what was shared in a conversation is read once; share the file again")
