"""A repository's discussions, which only GraphQL lists."""

from __future__ import annotations

from typing import Any

from assistant.errors import DocumentUnreadable
from workers.ingestion.sources.github_api import Api, Expired
from workers.ingestion.sources.github_issues import thread
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, known_of

LIST = """
query($owner: String!, $name: String!, $after: String, $direction: OrderDirection!) {
  repository(owner: $owner, name: $name) {
    discussions(first: 50, after: $after, orderBy: {field: UPDATED_AT, direction: $direction}) {
      pageInfo { hasNextPage endCursor }
      nodes { number title url updatedAt }
    }
  }
}"""
ONE = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    discussion(number: $number) {
      number title url updatedAt body
      author { login }
      category { name }
      comments(first: 50, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          author { login } body createdAt isAnswer
          replies(first: 50) { nodes { author { login } body createdAt } }
        }
      }
    }
  }
}"""


class Discussions:
    """The newest change first, until one that is known; of everything, the oldest first: what changes meanwhile comes
    later, and is not passed over. A cursor: ``since`` when, and where this listing goes on."""

    def __init__(self, api: Api, repository: str) -> None:
        self._api = api
        owner, _, name = repository.partition("/")
        self._names = {"owner": owner, "name": name}

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        whole, cursor = cursor is None, cursor or {}
        since, after = cursor.get("since", ""), cursor.get("after")
        asked = self._names | {"direction": "DESC" if since else "ASC"}
        try:
            found = await self._api.query(LIST, asked | {"after": after})
        except Expired:  # what was listed so far is listed once more
            found = await self._api.query(LIST, asked | {"after": None})
        listed = ((found.get("repository") or {}).get("discussions")) or {"nodes": [], "pageInfo": {}}
        nodes = [node for node in listed["nodes"] if node is not None]
        fresh = [node for node in nodes if node["updatedAt"] >= since]
        newest = max([cursor.get("newest", since), *(node["updatedAt"] for node in nodes)])
        more = bool(listed["pageInfo"].get("hasNextPage")) and len(fresh) == len(nodes)
        kept = {"since": newest}
        if more:
            kept = {"since": since, "newest": newest, "after": listed["pageInfo"]["endCursor"]}
        return Changes([self._entry(node) for node in fresh], cursor=kept, more=more, whole=whole)

    async def find(self, external_id: str) -> Entry | None:
        found = await self._one(int(external_id.removeprefix("discussions/")), None)
        return None if found is None else self._entry(found)

    async def _one(self, number: int, after: str | None) -> dict[str, Any] | None:
        found = await self._api.query(ONE, self._names | {"number": number, "after": after})
        discussion: dict[str, Any] | None = (found.get("repository") or {}).get("discussion")
        return discussion

    def _entry(self, node: dict[str, Any]) -> Entry:
        return Entry(f"discussions/{node['number']}", self._load(node["number"]), node["updatedAt"], node["url"])

    def _load(self, number: int) -> Load:
        async def load(_known: str | None) -> Loaded:
            comments: list[dict[str, Any]] = []
            after: str | None = None
            while True:
                found = await self._one(number, after)
                if found is None:
                    raise DocumentUnreadable("the discussion was deleted while it was read")
                for comment in found["comments"]["nodes"]:
                    comments += [comment, *comment["replies"]["nodes"]]
                page = found["comments"]["pageInfo"]
                if not page["hasNextPage"]:
                    break
                after = page["endCursor"]
            author = (found.get("author") or {}).get("login", "somebody")
            facts = f"Discussion #{number} by {author}, in {found['category']['name']}"
            text = thread(found["title"], found["body"], facts, comments)
            details = known_of(author=(found.get("author") or {}).get("login"), updated=found["updatedAt"])
            return Loaded("discussion.md", text.encode(), version=found["updatedAt"], details=details)

        return load
