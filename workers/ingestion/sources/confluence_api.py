"""Confluence Cloud's REST API: version 2, and of version 1 what has no successor (restrictions, groups, search)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from yarl import URL

from assistant.errors import SettingsError
from workers.ingestion.credentials import authorization, headers_for
from workers.ingestion.http import Client, Response, Unavailable, expect
from workers.ingestion.sources.port import Setting


class Api:
    def __init__(self, client: Client, site: URL, headers: dict[str, str]) -> None:
        self._client = client
        self._base = site.origin().with_path("/wiki")
        self._headers = headers | {"Accept": "application/json"}

    @property
    def host(self) -> str:
        return self._base.host or ""

    def link(self, path: str) -> str:
        """An address that the API names without the site, or below it; never one of another host."""
        if path.startswith(("/wiki/", "/wiki?")):
            return str(self._base.origin()) + path
        return str(self._base) + path if path.startswith("/") else str(self._base) + "/" + path

    async def get(self, path: str) -> Any:
        """The JSON of a 200; None for 404."""
        return await self._client.get_json(self.link(path), self._headers)

    async def post(self, path: str, body: Any) -> Any:
        return expect(await self._client.request("POST", self.link(path), self._headers, json=body)).json()

    async def fetch(self, url: str) -> Response:
        return await self._client.request("GET", url, {"Authorization": self._headers.get("Authorization", "")})

    async def all(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Every result of a listing. A cursor that is refused on the way has expired: it begins anew, later."""
        first = True
        while path:
            response = await self._client.request("GET", self.link(path), self._headers)
            if response.status in (400, 404, 410) and not first:
                raise Unavailable("Confluence's listing expired on the way")
            if response.status == 404:
                return
            found = expect(response).json()
            for result in found["results"]:
                yield result
            path = (found.get("_links") or {}).get("next") or ""
            first = False


def api_of(setting: Setting) -> Api:
    """With the credential that the source names, or the one of ALMANAC_CONFLUENCE_URL, for that site alone."""
    site, settings = URL(setting.location), setting.settings
    headers = headers_for(setting, setting.location)
    if not headers:
        if settings.confluence_token is None:
            raise SettingsError("ALMANAC_CONFLUENCE_TOKEN is not set; it opens Confluence's pages.")
        ours = URL(settings.confluence_url or "").host
        if ours != site.host:
            raise SettingsError(f"ALMANAC_CONFLUENCE_TOKEN is for {ours}, not for {site.host}.")
        headers = {"Authorization": authorization(settings.confluence_email or "", settings.confluence_token)}
    return Api(setting.client, site, headers)
