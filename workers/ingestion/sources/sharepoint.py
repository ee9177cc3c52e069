"""Source: the files of SharePoint libraries and OneDrives, by Microsoft Graph's delta links, with their sharing.

Location: a site's address (all its libraries), ``drive:ID`` or ``user:ADDRESS`` (a OneDrive). Options: ``links``
("ignore": a sharing link for everybody is no right to find what it leads to), ``credential``.

Graph tells of a folder whose sharing has changed, not always of what lies in it: the readers of each folder are kept in
the cursor, and where a folder's readers, name or place differ, everything in it is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from yarl import URL

from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.http import expect
from workers.ingestion.parse.formats import reader_of
from workers.ingestion.sources.graph_api import Graph
from workers.ingestion.sources.graph_readers import Readers
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, Setting, known_of


class SharePoint:
    """A cursor: per drive its ``link`` and its ``folders``; ``at`` which drive, in a ``whole`` listing or not."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._graph = Graph(setting)
        self._readers = Readers(self._graph, setting.config.get("links") != "ignore")
        self._max_bytes = setting.client.max_bytes

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        if cursor is None:
            drives = await self._drives()
            cursor = {"drives": {drive: {"link": "", "folders": {}} for drive in drives}, "at": 0, "whole": True}
            return await self._page(cursor, first=True)
        return await self._page(cursor, first=False)

    async def find(self, external_id: str) -> Entry | None:
        drive, _, item_id = external_id.partition("/")
        item = await self._graph.get(f"/drives/{drive}/items/{item_id}")
        if item is None or "file" not in item or reader_of(item["name"]) is None:
            return None
        readers = await self._readers.of_items(drive, [item["id"]])
        return self._entry(drive, item, readers[item["id"]])

    async def _drives(self) -> list[str]:
        location = self._setting.location
        if location.startswith("drive:"):
            return [location.removeprefix("drive:")]
        if location.startswith("user:"):
            drive = await self._graph.get(f"/users/{quote(location.removeprefix('user:'))}/drive")
            return [_there(drive, location)["id"]]
        url = URL(location)
        site = _there(await self._graph.get(f"/sites/{url.host}:{quote(url.path.rstrip('/') or '/')}"), location)
        return [drive["id"] async for drive in self._graph.all(f"/sites/{site['id']}/drives")]

    async def _page(self, cursor: Cursor, first: bool) -> Changes:
        """A page of one drive's delta. A link that has expired (410) begins the listing of everything anew."""
        names = list(cursor["drives"])
        if not names:
            return Changes(cursor=cursor, whole=True, first=True)
        drive = names[cursor["at"]]
        state = cursor["drives"][drive]
        found = await self._graph.delta(drive, state["link"])
        if found is None:
            if not state["link"]:
                raise AlmanacError(f"Graph shows no drive {drive} to this app.")
            return await self.list_changes(None)
        folders = dict(state["folders"])
        whole = bool(cursor["whole"])
        entries, gone = await self._changed(drive, found.items, folders, whole)
        if entries is None:
            return await self.list_changes(None)
        at = cursor["at"] + (not found.more)
        more = at < len(names)
        kept = cursor["drives"] | {drive: {"link": found.link, "folders": folders}}
        return Changes(
            list(entries.values()), gone, {"drives": kept, "at": at if more else 0, "whole": whole and more}, more,
            whole=whole, first=first, groups=self._readers.groups(),
        )  # fmt: skip

    async def _changed(
        self, drive: str, items: list[dict[str, Any]], folders: dict[str, Any], whole: bool
    ) -> tuple[dict[str, Entry] | None, list[str]]:
        """Entries by external id, and ids that are gone. None: a folder is gone, and who knows what with it."""
        there = {item["id"]: item for item in items if "deleted" not in item}  # an item may come twice; the last counts
        deleted = [item["id"] for item in items if "deleted" in item and item["id"] not in there]
        if not whole and any(item_id in folders for item_id in deleted):
            return None, []
        readers = await self._readers.of_items(drive, list(there))
        inside: dict[str, dict[str, Any]] = {}
        for item in there.values():
            if "folder" in item or "root" in item:
                state = _folder_state(item, readers[item["id"]])
                if not whole and folders.get(item["id"], state) != state:
                    inside |= await self._below(drive, item["id"], folders)
                folders[item["id"]] = state
        more_readers = await self._readers.of_items(drive, [item_id for item_id in inside if item_id not in there])
        readers |= more_readers
        files = {item_id: item for item_id, item in (inside | there).items() if "file" in item}
        gone = [f"{drive}/{item_id}" for item_id in deleted]
        gone += [f"{drive}/{item_id}" for item_id, item in files.items() if reader_of(item["name"]) is None]
        entries = [self._entry(drive, item, readers[item_id]) for item_id, item in files.items()]
        return {entry.external_id: entry for entry in entries if entry.external_id not in gone}, gone

    async def _below(self, drive: str, folder: str, folders: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        waiting = [folder]
        while waiting:
            async for item in self._graph.all(f"/drives/{drive}/items/{waiting.pop()}/children?$top=200"):
                if "folder" in item:
                    waiting.append(item["id"])
                    folders[item["id"]] = []  # its readers may have changed with those of the one above
                else:
                    found[item["id"]] = item
        return found

    def _entry(self, drive: str, item: Mapping[str, Any], readers: tuple[str, ...]) -> Entry:
        version = f"{item.get('cTag') or item.get('eTag')} {item['name']}"
        return Entry(f"{drive}/{item['id']}", self._load(drive, item), version, item.get("webUrl"), readers)

    def _load(self, drive: str, item: Mapping[str, Any]) -> Load:
        async def load(_known: str | None) -> Loaded:
            if int(item.get("size") or 0) > self._max_bytes:
                raise DocumentUnreadable(f"the file is too large (ALMANAC_FILE_MAX_MB is {self._max_bytes / 2**20:g})")
            response = await self._graph.request("GET", f"/drives/{drive}/items/{item['id']}/content")
            if response.status == 404:
                raise DocumentUnreadable("the file was deleted while it was read")
            return Loaded(item["name"], expect(response).body, details=_details(item))

        return load


def _details(item: Mapping[str, Any]) -> dict[str, str]:
    def person(action: str) -> str | None:
        return ((item.get(action) or {}).get("user") or {}).get("displayName")

    return known_of(
        author=person("createdBy"), last_edited_by=person("lastModifiedBy"), updated=item.get("lastModifiedDateTime")
    )


def _folder_state(item: Mapping[str, Any], readers: tuple[str, ...]) -> list[str]:
    """What of a folder concerns the files in it: its name, its place, its readers."""
    digest = hashlib.sha256("\n".join(readers).encode()).hexdigest()[:16]
    return [item.get("name", ""), (item.get("parentReference") or {}).get("id", ""), digest]


def _there(found: Any, location: str) -> dict[str, Any]:
    if found is None:
        raise AlmanacError(f"Graph shows nothing at {location} to this app.")
    answer: dict[str, Any] = found
    return answer
