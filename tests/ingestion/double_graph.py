"""A local double of Microsoft Graph: one site with a library, delta links, permissions in batches, and its token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.ingestion.source_station import Faults

SECRET, TOKEN = "graph-s3cret", "graph-t0ken"


@dataclass
class Item:
    """``grants``: permissions of its own; None: those of the folder that it lies in."""

    id: str
    name: str
    parent: str | None
    content: bytes | None = None  # None: a folder
    version: int = 1
    grants: list[dict[str, Any]] | None = None
    changed: int = 0  # at which change of the drive
    sharing: int = 0  # at which change its sharing was changed


def user(address: str) -> dict[str, Any]:
    return {"roles": ["read"], "grantedToV2": {"user": {"id": address.partition("@")[0], "email": address}}}


def group(name: str) -> dict[str, Any]:
    return {"roles": ["write"], "grantedToV2": {"group": {"id": name, "displayName": name}}}


def link(scope: str, *people: str) -> dict[str, Any]:
    identities = [{"user": {"email": person, "id": person}} for person in people]
    return {"roles": ["read"], "link": {"scope": scope, "type": "view"}, "grantedToIdentitiesV2": identities}


@dataclass
class Graph:
    """``history`` counts changes; a delta link names the last one that its holder knows."""

    base: str = ""
    items: dict[str, Item] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    history: int = 1
    expired: int = 0  # delta links older than this change answer 410
    page_size: int = 2
    tokens: int = 0
    loaded: list[str] = field(default_factory=list)
    permission_calls: int = 0
    busy_batches: int = 0
    members: dict[str, list[str]] = field(default_factory=lambda: {"team": ["mia@acme.example"]})
    faults: Faults = field(default_factory=Faults)
    reject_tokens: int = 0

    def put(self, item: Item) -> Item:
        self.history += 1
        item.changed = self.history
        self.items[item.id] = item
        return item

    def share(self, item_id: str, *grants: dict[str, Any]) -> None:
        """As Graph does, the item shows in the delta; what lies below it does not."""
        self.history += 1
        item = self.items[item_id]
        item.grants, item.changed, item.sharing = list(grants), self.history, self.history

    def delete(self, item_id: str, report_children: bool = True) -> None:
        self.history += 1
        for child in [one.id for one in self.items.values() if one.parent == item_id]:
            if report_children:
                self.delete(child)
            else:
                self.items.pop(child)
        self.items.pop(item_id)
        self.deleted[item_id] = self.history

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path.endswith("/oauth2/v2.0/token"):
            form = await request.post()
            if (form["client_secret"], form["grant_type"]) != (SECRET, "client_credentials"):
                return web.Response(status=401)
            self.tokens += 1
            return web.json_response({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})
        if request.path.startswith("/download/"):
            assert "Authorization" not in request.headers  # a pre-authenticated address
            return web.Response(body=self.items[request.path.rpartition("/")[2]].content)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if self.reject_tokens:
            self.reject_tokens -= 1
            return web.Response(status=401)
        if (fault := self.faults.take(request)) is not None:
            return fault
        if request.path == "/v1.0/$batch":
            return await self._batch(await request.json())
        status, body = self._get(request.path.removeprefix("/v1.0"), dict(request.query), request)
        return web.Response(status=status, headers=body) if status == 302 else web.json_response(body, status=status)

    async def _batch(self, body: dict[str, Any]) -> web.Response:
        requests = body["requests"]
        assert len(requests) <= 20
        responses = []
        for place, one in enumerate(requests):
            if self.busy_batches and place % 2:
                responses.append({"id": one["id"], "status": 429, "headers": {"Retry-After": "0"}, "body": {}})
                continue
            status, answer = self._get(one["url"], {}, None)
            responses.append({"id": one["id"], "status": status, "body": answer})
        self.busy_batches = max(0, self.busy_batches - 1)
        return web.json_response({"responses": list(reversed(responses))})  # Graph keeps no order

    def _get(self, path: str, query: dict[str, str], request: web.Request | None) -> tuple[int, Any]:
        match path.strip("/").split("/"):
            case ["sites", name] | ["sites", name, "sites", _] | ["sites", name, _]:
                if "acme" in name or path.endswith("/sites/Eng"):
                    if path.endswith("/drives"):
                        return 200, {"value": [{"id": "d1", "name": "Documents"}]}
                    return 200, {"id": "acme,1,2"}
            case ["drives", "d1"]:
                return 200, {"id": "d1", "owner": {"group": {"id": "team"}}}
            case ["drives", "d1", "root", "delta"]:
                assert request is not None
                assert "deltashowsharingchanges" in request.headers["Prefer"]
                return self._delta(query)
            case ["drives", "d1", "items", item_id] if item_id in self.items:
                return 200, self._item(self.items[item_id])
            case ["drives", "d1", "items", item_id, "permissions"] if item_id in self.items:
                self.permission_calls += 1
                return 200, {"value": self._grants(self.items[item_id])}
            case ["drives", "d1", "items", item_id, "children"]:
                children = [self._item(one) for one in self.items.values() if one.parent == item_id]
                return 200, {"value": children}
            case ["drives", "d1", "items", item_id, "content"] if item_id in self.items:
                self.loaded.append(item_id)
                return 302, {"Location": f"{self.base.replace('127.0.0.1', 'localhost')}/download/{item_id}"}
            case ["groups", name, "transitiveMembers"]:
                return 200, {
                    "value": [{"id": one, "mail": one, "userPrincipalName": one} for one in self.members[name]]
                }
        return 404, {"error": {"code": "itemNotFound"}}

    def _delta(self, query: dict[str, str]) -> tuple[int, Any]:
        since, skip = int(query.get("token") or 0), int(query.get("skip") or 0)
        if since and since < self.expired:
            return 410, {"error": {"code": "resyncRequired"}}
        changed: list[dict[str, Any]] = [
            self._item(one) | ({"@microsoft.graph.sharedChanged": "True"} if since and one.sharing > since else {})
            for one in sorted(self.items.values(), key=lambda one: one.changed) if one.changed > since
        ]  # fmt: skip
        if since:
            changed += [{"id": one, "deleted": {"state": "deleted"}} for one, at in self.deleted.items() if at > since]
        page = changed[skip : skip + self.page_size]
        here = f"{self.base}/v1.0/drives/d1/root/delta"
        if skip + self.page_size < len(changed):
            return 200, {"value": page, "@odata.nextLink": f"{here}?token={since}&skip={skip + self.page_size}"}
        return 200, {"value": page, "@odata.deltaLink": f"{here}?token={self.history}"}

    def _item(self, item: Item) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": item.id, "name": item.name, "eTag": f"e{item.id}{item.changed}",
            "webUrl": f"https://acme.sharepoint.com/{self._path(item)}", "parentReference": {"id": item.parent},
        }  # fmt: skip
        if item.content is None:
            return found | {"folder": {"childCount": 1}} | ({"root": {}} if item.parent is None else {})
        who = {"createdBy": {"user": {"displayName": "Mia Marsh"}}, "lastModifiedBy": {"user": {"displayName": "Tom"}}}
        found |= who | {"lastModifiedDateTime": "2026-05-04T10:11:12Z"}
        return found | {"file": {}, "cTag": f"c{item.id}{item.version}", "size": len(item.content)}

    def _path(self, item: Item) -> str:
        parent = self.items.get(item.parent or "")
        return f"{self._path(parent)}/{item.name}" if parent else item.name

    def _grants(self, item: Item) -> list[dict[str, Any]]:
        if item.grants is not None:
            return item.grants
        return self._grants(self.items[item.parent]) if item.parent in self.items else []
