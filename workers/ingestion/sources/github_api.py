"""GitHub's REST and GraphQL interfaces, page by page and within their limits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from yarl import URL

from assistant.errors import AlmanacError
from workers.ingestion.credentials import authorization, named
from workers.ingestion.http import Denied, Unavailable, expect
from workers.ingestion.sources.port import Setting


class Expired(AlmanacError):
    """A cursor that GitHub knows no more."""


class Api:
    """``setting.config`` may name a credential of its own; else ALMANAC_GITHUB_TOKEN, where one is set."""

    def __init__(self, setting: Setting) -> None:
        self._client = setting.client
        self._base = setting.settings.github_api_url.rstrip("/")
        name = setting.config.get("credential")
        credential = named(setting.settings, str(name)) if name else None
        if credential is not None and credential.host.lower() != self.host:
            raise Denied(f"The credential {name} is for {credential.host}, not for {self.host}.")
        self._token = credential.token if credential is not None else setting.settings.github_token
        self._headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if self._token is not None:
            self._headers["Authorization"] = authorization("", self._token)

    @property
    def host(self) -> str:
        return (URL(self._base).host or "").lower()

    def git_authorization(self) -> str:
        return authorization("x-access-token", self._token) if self._token is not None else ""

    async def get(self, path: str) -> Any:
        """The JSON of a 200; None for 404, and 410 (an issue that was deleted)."""
        return await self._client.get_json(self._base + path, self._headers)

    async def page(self, address: str) -> tuple[list[dict[str, Any]], str]:
        """One page of a listing, by path or address, and the address of the next, or ""."""
        url = address if address.startswith(self._base + "/") else self._base + address
        response = await self._client.request("GET", url, self._headers)
        if response.status in (404, 410, 422):
            raise Expired("GitHub does not know this place of the listing any more.")
        found: list[dict[str, Any]] = expect(response).json()
        next_page = _next(response.headers)
        if next_page and not next_page.startswith(self._base + "/"):
            raise Denied(
                f"{self.host} names a page at another address; ALMANAC_GITHUB_API_URL is not what it calls itself."
            )
        return found, next_page

    async def all(self, path: str) -> AsyncIterator[dict[str, Any]]:
        address = path
        while address:
            found, address = await self.page(address)
            for one in found:
                yield one

    async def query(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL query. Raises ``Unavailable`` at a limit, ``Expired`` for a cursor of old."""
        url = f"{self._base.removesuffix('/v3')}/graphql"
        body = {"query": query, "variables": dict(variables)}
        answer = expect(await self._client.request("POST", url, self._headers, json=body)).json()
        errors = answer.get("errors") or []
        kinds = {str(error.get("type") or "") for error in errors}
        if "RATE_LIMITED" in kinds:
            raise Unavailable("GitHub's limit of queries is used up", 300.0)
        if "INVALID_CURSOR_ARGUMENTS" in kinds:
            raise Expired("GitHub does not know this cursor any more.")
        if errors and kinds != {"NOT_FOUND"}:
            raise Unavailable("GitHub could not answer the query")
        data: dict[str, Any] = answer.get("data") or {}
        return data


def _next(headers: Mapping[str, str]) -> str:
    found = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("link", ""))
    return found.group(1) if found else ""
