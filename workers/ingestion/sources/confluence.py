"""Source: Confluence Cloud. Pages, blog posts and attachments of spaces, each with who may read it.

Every sync lists what there is (its REST API tells neither deletions nor changed restrictions otherwise) and loads only
what has a new version: ten thousand pages are about 150 requests. Options: ``spaces`` (keys, else all),
``attachments`` ("no" leaves them out), ``credential``.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.http import expect
from workers.ingestion.page import file_name
from workers.ingestion.parse.formats import reader_of
from workers.ingestion.sources.confluence_api import api_of
from workers.ingestion.sources.confluence_readers import Readers
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, Setting, known_of, slices

PAGE = 100


@dataclass(frozen=True, slots=True)
class _Outline:
    """Everything that is there, by external id, and the members of the groups that may read it."""

    entries: dict[str, Entry]
    groups: dict[str, list[str]]


class Confluence:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._api = api_of(setting)
        self._outline: _Outline | None = None
        self._readers = Readers(self._api)

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        if self._outline is None or cursor is None:
            self._outline = await self._read()
        ids = sorted(self._outline.entries)
        after = cursor["after"] if cursor else ""
        start = next((place for place, external_id in enumerate(ids) if external_id > after), len(ids))
        page, more = slices(ids, start, PAGE)
        return Changes(
            [self._outline.entries[external_id] for external_id in page],
            cursor={"after": page[-1]} if more else None,
            more=more,
            whole=True,
            first=cursor is None,
            total=len(ids),
            groups=self._outline.groups if cursor is None else {},
        )

    async def find(self, external_id: str) -> Entry | None:
        if self._outline is None:
            self._outline = await self._read()
        return self._outline.entries.get(external_id)

    async def _read(self) -> _Outline:
        api, readers = self._api, Readers(self._api)
        self._readers = readers
        entries: dict[str, Entry] = {}
        pages: dict[str, tuple[str, ...]] = {}
        spaces = await self._spaces()
        if not spaces:
            raise AlmanacError(f"{api.host} shows none of the spaces to this account.")
        for space in spaces:
            allowed = await readers.of_space(space["id"])
            await readers.learn_restrictions(space["key"])
            for kind, path in (("page", "pages"), ("blogpost", "blogposts")):
                address = f"/api/v2/spaces/{space['id']}/{path}?limit=250&status=current"
                listed = [page async for page in api.all(address)]
                readers.learn_parents(listed)
                for page in listed:
                    pages[page["id"]] = await readers.of_page(page, allowed)
                    entry = self._page(kind, path, page, pages[page["id"]])
                    entries[entry.external_id] = entry
        if self._setting.config.get("attachments") != "no":
            async for attachment in api.all("/api/v2/attachments?limit=250&status=current"):
                holder = attachment.get("pageId") or attachment.get("blogPostId")
                if holder in pages and reader_of(attachment["title"]) is not None:
                    entry = self._attachment(attachment, pages[holder])
                    entries[entry.external_id] = entry
        return _Outline(entries, readers.groups())

    async def _spaces(self) -> list[dict[str, Any]]:
        keys = str(self._setting.config.get("spaces") or "")
        query = f"&keys={keys}" if keys else ""
        return [space async for space in self._api.all(f"/api/v2/spaces?limit=250&status=current{query}")]

    def _page(self, kind: str, path: str, page: dict[str, Any], readers: tuple[str, ...]) -> Entry:
        url = self._api.link(page["_links"]["webui"])
        version = f"{page['version']['number']} {page['title']}"
        return Entry(f"{kind}/{page['id']}", self._body(path, page), version, url, readers)

    def _body(self, path: str, page: dict[str, Any]) -> Load:
        async def load(_known: str | None) -> Loaded:
            found = await self._api.get(f"/api/v2/{path}/{page['id']}?body-format=export_view")
            if found is None:
                raise DocumentUnreadable("the page was deleted while it was read")
            body = found["body"]["export_view"]["value"]
            version = f"{found['version']['number']} {found['title']}"
            content = f"<html><head><title>{html.escape(found['title'])}</title></head><body>{body}</body></html>"
            last = found["version"]
            details = known_of(
                author=await self._readers.name_of(found.get("authorId")),
                last_edited_by=await self._readers.name_of(last.get("authorId")),
                updated=last.get("createdAt"),
            )
            return Loaded("page.html", content.encode(), version=version, details=details)

        return load

    def _attachment(self, attachment: dict[str, Any], readers: tuple[str, ...]) -> Entry:
        async def load(_known: str | None) -> Loaded:
            if int(attachment.get("fileSize") or 0) > self._setting.client.max_bytes:
                limit = self._setting.client.max_bytes / 2**20
                raise DocumentUnreadable(f"the file is too large (ALMANAC_FILE_MAX_MB is {limit:g})")
            response = expect(await self._api.fetch(self._api.link(attachment["downloadLink"])))
            last = attachment["version"]
            details = known_of(author=await self._readers.name_of(last.get("authorId")), updated=last.get("createdAt"))
            return Loaded(attachment["title"] or file_name(response), response.body, details=details)

        url = self._api.link(attachment.get("webuiLink") or attachment["downloadLink"])
        version = f"{attachment['version']['number']} {attachment['title']}"
        return Entry(f"attachment/{attachment['id']}", load, version, url, readers)
