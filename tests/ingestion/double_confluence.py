"""A local double of Confluence Cloud: spaces, pages, attachments, restrictions and groups, as its API tells."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.ingestion.source_station import Faults

TOKEN = "confluence-s3cret"
CREATED = "2026-05-04T10:11:12.345Z"
AUTHORIZATION = "Basic " + base64.b64encode(f"bot@acme.example:{TOKEN}".encode()).decode()


@dataclass
class Page:
    id: str
    title: str
    body: str
    space: str
    parent: str | None = None
    version: int = 1
    users: list[str] = field(default_factory=list)  # account ids that may read it; empty with no groups: no restriction
    groups: list[str] = field(default_factory=list)
    kind: str = "page"


class Confluence:
    """``page_size`` of listings; ``bodies`` counts how many pages' bodies were asked for."""

    def __init__(self) -> None:
        self.spaces = {"ENG": "11", "OPS": "12"}
        self.permissions: dict[str, list[tuple[str, str]]] = {"11": [("group", "g-all")], "12": [("user", "u-tom")]}
        self.people = {"u-mia": "Mia@acme.example", "u-tom": "tom@acme.example", "u-shy": ""}
        self.names = {"u-mia": "Mia Marsh", "u-tom": "Tom Tide"}
        self.members = {"g-all": ["u-mia", "u-tom", "u-shy"], "g-leads": ["u-mia"]}
        self.pages: dict[str, Page] = {}
        self.folders: dict[str, list[str]] = {}  # page -> what is above it that no listing of pages names
        self.attachments: dict[str, tuple[str, str, bytes, int]] = {}  # id -> page, title, content, version
        self.page_size = 2
        self.bodies: list[str] = []
        self.unauthorized = 0
        self.faults = Faults()
        self.cursors_expire = False
        self.unsearched: set[str] = set()  # pages that the search does not know yet

    def add(self, page: Page) -> None:
        self.pages[page.id] = page

    async def __call__(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/wiki")
        if path.startswith("/download/") and request.headers.get("Authorization") != AUTHORIZATION:
            self.unauthorized += 1
            return web.Response(status=401)
        if request.headers.get("Authorization") != AUTHORIZATION:
            self.unauthorized += 1
            return web.Response(status=401)
        if (fault := self.faults.take(request)) is not None:
            return fault
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "v2"]:
            return await self._v2(request, parts[2:])
        if parts[0] == "download":
            return web.Response(body=self.attachments[parts[1]][2])
        return self._v1(request, parts[2:])

    async def _v2(self, request: web.Request, parts: list[str]) -> web.Response:
        match parts:
            case ["spaces"]:
                keys = request.query.get("keys")
                wanted = [key for key in self.spaces if not keys or key in keys.split(",")]
                return self._listing(request, [{"id": self.spaces[key], "key": key} for key in wanted])
            case ["spaces", space, "permissions"]:
                granted = [
                    {"id": str(n), "principal": {"type": kind, "id": who},
                     "operation": {"key": key, "targetType": "space"}}
                    for n, (kind, who) in enumerate(self.permissions[space]) for key in ("read", "delete")
                ]  # fmt: skip
                return self._listing(request, granted)
            case ["spaces", space, ("pages" | "blogposts") as kind]:
                return self._listing(request, [
                    self._summary(page) for page in self.pages.values()
                    if self.spaces.get(page.space) == space and f"{page.kind}s" == kind
                ])  # fmt: skip
            case ["pages" | "blogposts", page_id]:
                page = self.pages.get(page_id)
                if page is None:
                    return web.Response(status=404)
                assert request.query["body-format"] == "export_view"
                self.bodies.append(page_id)
                return web.json_response(self._summary(page) | {"body": {"export_view": {"value": page.body}}})
            case ["attachments"]:
                return self._listing(request, [
                    {"id": one, "title": title, "pageId": page, "fileSize": len(content),
                     "version": {"number": version, "authorId": "u-shy", "createdAt": CREATED},
                     "downloadLink": f"/download/{one}/{title}", "webuiLink": f"/pages/{page}?preview={one}"}
                    for one, (page, title, content, version) in self.attachments.items()
                ])  # fmt: skip
            case ["users-bulk"]:
                asked = (await request.json())["accountIds"]
                return web.json_response({"results": [
                    {"accountId": one, "email": self.people[one], "displayName": self.names.get(one)}
                    for one in asked if one in self.people
                ]})  # fmt: skip
        return web.Response(status=404)

    def _v1(self, request: web.Request, parts: list[str]) -> web.Response:
        match parts:
            case ["content", "search"]:
                assert "restrictions.read.restrictions.user" in request.query["expand"]
                key = request.query["cql"].split('"')[1]
                return self._listing(request, [
                    {"id": page.id, "ancestors": [{"id": one} for one in self._above(page)],
                     "restrictions": {"read": {"operation": "read", "restrictions": self._restrictions(page)}}}
                    for page in self.pages.values() if page.space == key and page.id not in self.unsearched
                ])  # fmt: skip
            case ["content", page_id] if page_id in self.pages:
                above = self._above(self.pages[page_id]) + self.folders.get(page_id, [])
                return web.json_response({"id": page_id, "ancestors": [{"id": one} for one in above]})
            case ["content", page_id, "restriction", "byOperation", "read"]:
                page = self.pages.get(page_id)
                if page is None:
                    return web.Response(status=404)
                return web.json_response({"operation": "read", "restrictions": self._restrictions(page)})
            case ["group", group, "membersByGroupId"]:
                return self._listing(request, [{"accountId": one} for one in self.members[group]])
        return web.Response(status=404)

    def _restrictions(self, page: Page) -> dict[str, Any]:
        users = [{"type": "known", "accountId": one, "email": ""} for one in page.users]
        groups = [{"type": "group", "name": one, "id": one} for one in page.groups]
        return {"user": {"results": users, "size": len(users)}, "group": {"results": groups, "size": len(groups)}}

    def _above(self, page: Page) -> list[str]:
        above = []
        while page.parent is not None:
            above.insert(0, page.parent)
            page = self.pages[page.parent]
        return above

    def _summary(self, page: Page) -> dict[str, Any]:
        return {
            "id": page.id, "title": page.title, "status": "current", "parentId": page.parent,
            "authorId": "u-mia", "version": {"number": page.version, "authorId": "u-tom", "createdAt": CREATED},
            "_links": {"webui": f"/spaces/{page.space}/pages/{page.id}"},
        }  # fmt: skip

    def _listing(self, request: web.Request, results: list[Any]) -> web.Response:
        """A page of results, and the link to the next, relative as Confluence gives it."""
        start = int(request.query.get("cursor") or 0)
        if start and self.cursors_expire:
            return web.Response(status=400, text=json.dumps({"message": "cursor"}))
        page = results[start : start + self.page_size]
        links = {"base": "https://acme.atlassian.net/wiki"}
        if start + self.page_size < len(results):
            query = request.rel_url.update_query({"cursor": str(start + self.page_size)})
            # version 2 names the path with its context, version 1 without
            links["next"] = str(query) if "/api/v2/" in request.path else str(query).removeprefix("/wiki")
        return web.json_response({"results": page, "_links": links})
