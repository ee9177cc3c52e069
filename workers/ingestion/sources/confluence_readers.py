"""Who may read a page of Confluence: whoever may read its space, and passes the restrictions of the page and of every
page above it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from workers.ingestion.http import Denied
from workers.ingestion.sources.confluence_api import Api

RESTRICTIONS = "restrictions.read.restrictions.user,restrictions.read.restrictions.group,ancestors"
BULK = 250  # accounts looked up in one request


class Readers:
    """Knows what one listing has learnt: restrictions by page, groups' members, people's addresses."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._restrictions: dict[str, frozenset[str] | None] = {}
        self._ancestors: dict[str, list[str]] = {}
        self._parents: dict[str, str] = {}
        self._members: dict[str, frozenset[str]] = {}
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}

    async def name_of(self, account: str | None) -> str:
        """What somebody is called; empty where Confluence does not tell."""
        if not account:
            return ""
        if account not in self._names:
            await self._look_up([account])
        return self._names[account]

    def groups(self) -> dict[str, list[str]]:
        return {group: sorted(members) for group, members in self._members.items()}

    async def of_space(self, space_id: str) -> frozenset[str]:
        accounts: list[str] = []
        groups: list[str] = []
        async for granted in self._api.all(f"/api/v2/spaces/{space_id}/permissions?limit=250"):
            operation, principal = granted["operation"], granted["principal"]
            if (operation["key"], operation["targetType"]) == ("read", "space"):
                {"user": accounts, "group": groups}.get(principal["type"], []).append(principal["id"])
        return await self._principals(accounts, groups)

    async def learn_restrictions(self, space_key: str) -> None:
        """Of every page of the space, at once."""
        query = quote(f'space="{space_key}" and type in (page, blogpost)')
        async for page in self._api.all(f"/rest/api/content/search?cql={query}&expand={RESTRICTIONS}&limit=100"):
            self._ancestors[page["id"]] = [ancestor["id"] for ancestor in page.get("ancestors") or ()]
            self._restrictions[page["id"]] = await self._restricted(page["restrictions"]["read"]["restrictions"])

    def learn_parents(self, pages: Iterable[dict[str, Any]]) -> None:
        """Of every page of the space, as the listing has them now."""
        self._parents |= {page["id"]: page["parentId"] for page in pages if page.get("parentId")}

    async def of_page(self, page: dict[str, Any], space: frozenset[str]) -> tuple[str, ...]:
        readers = space
        for place in [page["id"], *await self._above(page["id"])]:
            allowed = await self._restriction(place)
            if allowed is not None:
                readers = self._both(readers, allowed)
        return tuple(sorted(readers))

    async def _above(self, page_id: str) -> list[str]:
        """Every place above the page, by the listing as by the search: the search is behind with what is new or was
        moved, and the listing of pages knows of nothing but pages. One that the search lacks is asked for by itself."""
        above: dict[str, None] = {}
        place = self._parents.get(page_id)
        while place is not None and place not in above:
            above[place] = None
            place = self._parents.get(place)
        if page_id not in self._ancestors and above:
            found = await self._api.get(f"/rest/api/content/{page_id}?expand=ancestors")
            self._ancestors[page_id] = [ancestor["id"] for ancestor in (found or {}).get("ancestors") or ()]
        return [*above, *(place for place in self._ancestors.get(page_id, ()) if place not in above)]

    async def _restriction(self, content_id: str) -> frozenset[str] | None:
        """Who may read what is below; None: whoever else may. What the search has not told is asked for."""
        if content_id not in self._restrictions:
            found = await self._api.get(f"/rest/api/content/{content_id}/restriction/byOperation/read")
            self._restrictions[content_id] = await self._restricted(found["restrictions"]) if found else None
        return self._restrictions[content_id]

    async def _restricted(self, restrictions: dict[str, Any]) -> frozenset[str] | None:
        users, groups = restrictions["user"]["results"], restrictions["group"]["results"]
        if not users and not groups:
            return None
        self._addresses |= {user["accountId"]: user["email"] for user in users if user.get("email")}
        return await self._principals([user["accountId"] for user in users], [group["id"] for group in groups])

    async def _principals(self, accounts: Iterable[str], groups: Iterable[str]) -> frozenset[str]:
        found = await self._people(list(accounts))
        for group in groups:
            found |= {f"group:confluence:{group}"}
            await self._learn_members(group)
        return found

    async def _people(self, accounts: list[str]) -> frozenset[str]:
        """Each by account, and by address where Confluence tells it."""
        unknown = sorted(set(accounts) - set(self._addresses))
        for start in range(0, len(unknown), BULK):
            await self._look_up(unknown[start : start + BULK])
        addresses = {f"user:email:{self._addresses[one].lower()}" for one in accounts if self._addresses[one]}
        return frozenset(addresses | {f"user:confluence:{one}" for one in accounts})

    async def _look_up(self, accounts: list[str]) -> None:
        """Addresses and names. What a listing has told of an address before stays."""
        found = (await self._api.post("/api/v2/users-bulk", {"accountIds": accounts}))["results"]
        addresses = dict.fromkeys(accounts, "") | {user["accountId"]: user.get("email") or "" for user in found}
        self._addresses = addresses | self._addresses
        self._names |= dict.fromkeys(accounts, "")
        self._names |= {user["accountId"]: user.get("displayName") or user.get("publicName") or "" for user in found}

    async def _learn_members(self, group: str) -> None:
        principal = f"group:confluence:{group}"
        if principal in self._members:
            return
        accounts = []
        try:
            async for user in self._api.all(f"/rest/api/group/{quote(group)}/membersByGroupId?limit=200"):
                accounts.append(user["accountId"])
                if user.get("email"):
                    self._addresses[user["accountId"]] = user["email"]
        except Denied:  # then the group has no members that we know of, and its pages no readers through it
            accounts = []
        self._members[principal] = await self._people(accounts)

    def _both(self, one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
        """Who is in both sets. Groups that are in both stay groups; else people are compared with people."""
        shared = one & other
        return shared | (self._as_people(one) & self._as_people(other))

    def _as_people(self, principals: frozenset[str]) -> frozenset[str]:
        people = {principal for principal in principals if principal.startswith("user:")}
        return frozenset(people.union(*(self._members.get(principal, ()) for principal in principals - people)))
