"""A repository's issues, each with its comments as one document."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from assistant.errors import DocumentUnreadable
from workers.ingestion.sources.github_api import Api, Expired
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, known_of


class Issues:
    """Oldest change first, each page from where the last one ended: what changes meanwhile comes later, and what stood
    behind it is not moved onto a page that was read already. A cursor: ``since`` when, the ``last`` issues of that
    second, which were read, and the ``next`` page, where more issues than a page holds changed in it."""

    def __init__(self, api: Api, repository: str) -> None:
        self._api = api
        self._path = f"/repos/{repository}/issues"

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        whole, cursor = cursor is None, cursor or {}
        since, address = cursor.get("since", ""), cursor.get("next", "")
        start = f"{self._path}?state=all&sort=updated&direction=asc&per_page=100"
        start += f"&since={quote(since)}" if since else ""
        lost = False
        try:
            found, next_page = await self._api.page(address or start)
        except Expired:
            if not address:
                return Changes(cursor=cursor, whole=whole)
            found, next_page = await self._api.page(start)
            lost = True
        newest = max([since, *(issue["updated_at"] for issue in found)])
        more = bool(next_page) and (newest > since or not lost)  # never the same page for ever
        known = set(cursor.get("last", ()))
        entries = [
            self._entry(issue) for issue in found if issue["number"] not in known and "pull_request" not in issue
        ]
        kept = {"since": newest}
        if more:  # the next page begins with the second that this one ends with
            last = {issue["number"] for issue in found if issue["updated_at"] == newest}
            kept |= {"last": sorted(last | known)} if newest == since else {"last": sorted(last)}
            kept |= {"next": next_page} if newest == since else {}
        return Changes(entries, cursor=kept, more=more, whole=whole)

    async def find(self, external_id: str) -> Entry | None:
        """None too where GitHub leads to another repository's: the issue was moved there."""
        issue = await self._api.get(f"{self._path}/{external_id.removeprefix('issues/')}")
        if issue is None or "pull_request" in issue or f"issues/{issue['number']}" != external_id:
            return None
        return self._entry(issue)

    def _entry(self, issue: dict[str, Any]) -> Entry:
        external_id = f"issues/{issue['number']}"
        return Entry(external_id, self._load(issue), issue["updated_at"], issue["html_url"])

    def _load(self, issue: dict[str, Any]) -> Load:
        async def load(_known: str | None) -> Loaded:
            comments: list[dict[str, Any]] = []
            if issue.get("comments"):
                try:
                    path = f"{self._path}/{issue['number']}/comments?per_page=100"
                    comments = [comment async for comment in self._api.all(path)]
                except Expired:
                    raise DocumentUnreadable("the issue was deleted while it was read") from None
            details = known_of(author=(issue.get("user") or {}).get("login"), updated=issue["updated_at"])
            content = thread(issue["title"], issue.get("body"), _facts(issue), comments).encode()
            return Loaded("issue.md", content, details=details)

        return load


def _facts(issue: dict[str, Any]) -> str:
    labels = ", ".join(label["name"] for label in issue.get("labels") or ())
    author = (issue.get("user") or {}).get("login", "somebody")
    return f"Issue #{issue['number']} by {author}, {issue['state']}" + (f"; labels: {labels}" if labels else "")


def thread(title: str, body: str | None, facts: str, comments: list[dict[str, Any]]) -> str:
    """A conversation as Markdown: a heading for each comment, so that a passage says whose it is."""
    parts = [f"# {title}", facts, body or ""]
    for comment in comments:
        author = (comment.get("user") or comment.get("author") or {}).get("login", "somebody")
        when = str(comment.get("created_at") or comment.get("createdAt") or "")[:10]
        heading = "Answer" if comment.get("isAnswer") else "Comment"
        parts += [f"## {heading} by {author}, {when}", comment.get("body") or ""]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
