"""Who may read an item of a drive, from its effective sharing permissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from workers.ingestion.http import Denied
from workers.ingestion.sources.graph_api import Graph

READING = {"read", "write", "owner", "sp.full control"}


class Readers:
    """``links``: a sharing link for everybody, or for the whole organisation, makes them readers."""

    def __init__(self, graph: Graph, links: bool) -> None:
        self._graph = graph
        self._links = links
        self._members: dict[str, list[str]] = {}
        self._owners: dict[str, str] = {}

    def groups(self) -> dict[str, list[str]]:
        return dict(self._members)

    async def of_items(self, drive: str, item_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """By item. An item that is gone by now has none."""
        answers = await self._graph.batch([f"/drives/{drive}/items/{item_id}/permissions" for item_id in item_ids])
        found = {}
        for item_id, answer in zip(item_ids, answers, strict=True):
            principals: set[str] = set()
            for permission in await self._every(answer):
                principals |= await self._principals(drive, permission)
            found[item_id] = tuple(sorted(principals))
        return found

    async def _every(self, answer: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        if answer is None:
            return []
        permissions = list(answer["value"])
        if link := answer.get("@odata.nextLink"):
            permissions += [permission async for permission in self._graph.all(link)]
        return permissions

    async def _principals(self, drive: str, permission: Mapping[str, Any]) -> set[str]:
        if not READING & {role.lower() for role in permission.get("roles") or ()} or _over(permission):
            return set()
        link = permission.get("link") or {}
        if link.get("scope") == "anonymous":
            return {"everyone"} if self._links else set()
        if link.get("scope") == "organization":
            return {f"group:tenant:{self._graph.tenant}"} if self._links else set()
        identities = list(permission.get("grantedToIdentitiesV2") or permission.get("grantedToIdentities") or ())
        if identity := permission.get("grantedToV2") or permission.get("grantedTo"):
            identities.append(identity)
        found: set[str] = set()
        for identity in identities:
            found |= await self._identity(drive, identity)
        return found

    async def _identity(self, drive: str, identity: Mapping[str, Any]) -> set[str]:
        user = identity.get("user") or identity.get("siteUser") or {}
        if group := identity.get("group"):
            return {await self._group(group["id"])}
        if site_group := identity.get("siteGroup"):
            return await self._site_group(drive, site_group)
        if user.get("email"):
            return {f"user:email:{user['email'].lower()}"}
        return {f"user:entra:{user['id']}"} if user.get("id") and "user" in identity else set()

    async def _site_group(self, drive: str, site_group: Mapping[str, Any]) -> set[str]:
        """SharePoint's own groups, whose members Graph does not tell. The members' group of a team's site holds the
        team, which it does."""
        found = {f"group:sharepoint:{drive}:{site_group['id']}"}
        if str(site_group.get("displayName") or "").endswith(" Members"):
            if drive not in self._owners:
                about = await self._graph.get(f"/drives/{drive}?$select=id,owner") or {}
                self._owners[drive] = ((about.get("owner") or {}).get("group") or {}).get("id", "")
            if self._owners[drive]:
                found.add(await self._group(self._owners[drive]))
        return found

    async def _group(self, group: str) -> str:
        principal = f"group:entra:{group}"
        if principal not in self._members:
            members = []
            path = f"/groups/{group}/transitiveMembers?$select=id,mail,userPrincipalName&$top=999"
            try:
                async for member in self._graph.all(path):
                    addresses = {member.get("mail"), member.get("userPrincipalName")}
                    members += [f"user:email:{address.lower()}" for address in addresses if address]
                    members.append(f"user:entra:{member['id']}")
            except Denied:  # the app may not read groups: then nobody is known to be in it
                members = []
            self._members[principal] = sorted(set(members))
        return principal


def _over(permission: Mapping[str, Any]) -> bool:
    ends = permission.get("expirationDateTime")
    if not ends or str(ends).startswith("0001-"):
        return False
    return datetime.fromisoformat(str(ends)) < datetime.now(UTC)
