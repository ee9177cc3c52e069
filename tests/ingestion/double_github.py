"""A local double of GitHub: REST and GraphQL as they are documented; its repositories are real ones on this disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.ingestion.source_station import Faults

TOKEN = "github-s3cret"


class GitHub:
    """One repository, acme/ferry. ``clone`` is where it is cloned from."""

    def __init__(self, clone: str) -> None:
        self.about: dict[str, Any] = {
            "full_name": "acme/ferry", "private": False, "default_branch": "main", "clone_url": clone,
            "html_url": "https://github.com/acme/ferry", "has_issues": True, "has_wiki": True, "has_discussions": True,
        }  # fmt: skip
        self.issues: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.discussions: dict[int, dict[str, Any]] = {}
        self.collaborators = [{"login": "Mia"}, {"login": "tom", "email": "Tom@acme.example"}]
        self.page_size = 2
        self.loaded: list[str] = []
        self.faults = Faults()
        self.used_up = 0  # requests that meet the limit
        self.pages_expire = False
        self.changes_while_listed: Callable[[], None] | None = None  # once the first page has been given

    def issue(self, number: int, title: str, updated: str, **more: Any) -> None:
        self.issues[number] = {
            "number": number, "title": title, "body": f"About {title}.", "state": "open", "updated_at": updated,
            "html_url": f"https://github.com/acme/ferry/issues/{number}", "user": {"login": "mia"}, "labels": [],
            "comments": len(self.comments.get(number, ())), **more,
        }  # fmt: skip

    def discussion(self, number: int, title: str, updated: str, *comments: str) -> None:
        self.discussions[number] = {
            "number": number, "title": title, "body": f"Asking about {title}.", "updatedAt": updated,
            "url": f"https://github.com/acme/ferry/discussions/{number}", "author": {"login": "mia"},
            "category": {"name": "Q&A"},
            "comments": [
                {"author": {"login": "tom"}, "body": text, "createdAt": updated, "isAnswer": place == 0,
                 "replies": {"nodes": [{"author": None, "body": f"Reply to {text}", "createdAt": updated}]}}
                for place, text in enumerate(comments)
            ],
        }  # fmt: skip

    async def __call__(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if self.used_up:
            self.used_up -= 1
            reset = str(int(time.time()) - 1)
            return web.Response(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})
        if (fault := self.faults.take(request)) is not None:
            return fault
        if request.path == "/graphql":
            return self._graphql(await request.json())
        parts = request.path.removeprefix("/repos/acme/ferry").strip("/").split("/")
        match parts:
            case [""]:
                return web.json_response(self.about)
            case ["collaborators"]:
                return self._listing(request, self.collaborators)
            case ["issues"]:
                since = request.query.get("since", "")
                found = [issue for issue in self.issues.values() if issue["updated_at"] >= since]
                assert (request.query["sort"], request.query["direction"], request.query["state"]) == (
                    "updated", "asc", "all",
                )  # fmt: skip
                page = self._listing(request, sorted(found, key=lambda issue: issue["updated_at"]))
                if not since and self.changes_while_listed is not None:
                    self.changes_while_listed()
                    self.changes_while_listed = None
                return page
            case ["issues", number]:
                issue = self.issues.get(int(number))
                return web.Response(status=410) if issue is None else web.json_response(issue)
            case ["issues", number, "comments"]:
                self.loaded.append(f"issues/{number}")
                return self._listing(request, self.comments[int(number)])
        return web.Response(status=404)

    def _listing(self, request: web.Request, results: list[Any]) -> web.Response:
        page = int(request.query.get("page") or 1)
        if page > 1 and self.pages_expire:
            return web.Response(status=422, text=json.dumps({"message": "In order to keep the API fast"}))
        start = (page - 1) * self.page_size
        headers = {}
        if start + self.page_size < len(results):
            url = request.url.update_query({"page": str(page + 1)})
            headers["Link"] = f'<{url}>; rel="next", <{url}>; rel="last"'
        return web.json_response(results[start : start + self.page_size], headers=headers)

    def _graphql(self, body: dict[str, Any]) -> web.Response:
        variables = body["variables"]
        if "discussions(first" in body["query"]:
            descending = "direction: DESC" in body["query"] or variables.get("direction") == "DESC"
            ordered = sorted(self.discussions.values(), key=lambda one: one["updatedAt"], reverse=descending)
            found = self._after(ordered, variables["after"], descending)
            if self.changes_while_listed is not None:
                self.changes_while_listed()
                self.changes_while_listed = None
            return web.json_response({"data": {"repository": {"discussions": found}}})
        self.loaded.append(f"discussions/{variables['number']}")
        discussion = self.discussions.get(variables["number"])
        if discussion is None:
            errors = [{"type": "NOT_FOUND", "path": ["repository", "discussion"]}]
            return web.json_response({"data": {"repository": {"discussion": None}}, "errors": errors})
        comments = self._connection(discussion["comments"], variables["after"])
        return web.json_response({"data": {"repository": {"discussion": discussion | {"comments": comments}}}})

    def _after(self, ordered: list[Any], after: str | None, descending: bool) -> dict[str, Any]:
        """A cursor is a place in the order, as GitHub's are, and no count of what stands before it."""
        left = [
            one
            for one in ordered
            if not after or (one["updatedAt"] != after and (one["updatedAt"] < after) == descending)
        ]
        nodes = left[: self.page_size]
        end = nodes[-1]["updatedAt"] if nodes else None
        return {"nodes": nodes, "pageInfo": {"hasNextPage": len(left) > self.page_size, "endCursor": end}}

    def _connection(self, nodes: list[Any], after: str | None) -> dict[str, Any]:
        start = int(after.removeprefix("cursor:")) if after else 0
        end = start + self.page_size
        page = {"hasNextPage": end < len(nodes), "endCursor": f"cursor:{end}"}
        return {"nodes": nodes[start:end], "pageInfo": page}
