"""Microsoft Graph as an app: its token, its pages, its delta links, and requests in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from assistant.errors import SettingsError
from workers.ingestion.http import LONGEST_WAIT, Denied, Response, Unavailable, expect, passes
from workers.ingestion.sources.port import Setting

SHARING = "deltashowremovedasdeleted, deltatraversepermissiongaps, deltashowsharingchanges, hierarchicalsharing"
BATCH = 20  # Graph's limit
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Delta:
    """``link`` is where the next page begins, or, when there is no ``more``, the next sync."""

    items: list[dict[str, Any]]
    link: str
    more: bool


class Graph:
    def __init__(self, setting: Setting) -> None:
        settings = setting.settings
        if settings.graph_client_secret is None:
            raise SettingsError("ALMANAC_GRAPH_CLIENT_SECRET is not set; it opens SharePoint and OneDrive.")
        self._client = setting.client
        self._settings = settings
        self._base = settings.graph_url.rstrip("/")
        self._token = ""
        self._ends = 0.0

    @property
    def tenant(self) -> str:
        return str(self._settings.graph_tenant_id)

    async def get(self, path: str) -> Any:
        """The JSON of a 200; None for 404."""
        response = await self.request("GET", path)
        return None if response.status == 404 else expect(response).json()

    async def request(self, method: str, path: str, json: Any = None, prefer: str = "") -> Response:
        """By path, or by an address that Graph itself has named."""
        url = path if path.startswith(("https://", self._base)) else self._base + path
        if (URL(url).host, URL(url).port) != (URL(self._base).host, URL(self._base).port):
            raise Denied("Graph named an address of another host.")
        headers = {"Authorization": f"Bearer {await self._authorized()}"} | ({"Prefer": prefer} if prefer else {})
        response = await self._client.request(method, url, headers, json=json)
        if response.status == 401:  # the token has ended early
            self._ends = 0.0
            headers["Authorization"] = f"Bearer {await self._authorized()}"
            response = await self._client.request(method, url, headers, json=json)
        return response

    async def all(self, path: str) -> AsyncIterator[dict[str, Any]]:
        while path:
            found = await self.get(path)
            if found is None:
                return
            for one in found["value"]:
                yield one
            path = found.get("@odata.nextLink") or ""

    async def delta(self, drive: str, link: str) -> Delta | None:
        """A page of changes; None when there is no such drive, or the link has expired and all is to be listed anew."""
        response = await self.request("GET", link or f"/drives/{drive}/root/delta?$top=200", prefer=SHARING)
        if response.status in (404, 410):
            return None
        found = expect(response).json()
        next_link = found.get("@odata.nextLink")
        return Delta(found["value"], next_link or found["@odata.deltaLink"], next_link is not None)

    async def batch(self, paths: Sequence[str]) -> list[Any]:
        """The JSON of each GET, in order; None for 404. What was refused for the moment is asked for again."""
        answers: dict[str, Any] = {}
        for start in range(0, len(paths), BATCH):
            waiting = {str(place): paths[place] for place in range(start, min(start + BATCH, len(paths)))}
            for attempt in range(ATTEMPTS):
                pause = await self._ask(waiting, answers, 0.5 * 2**attempt)
                if not waiting:
                    break
                if pause > LONGEST_WAIT:
                    raise Unavailable("Graph asks to wait", pause)
                await asyncio.sleep(pause)
            if waiting:
                raise Unavailable("Graph did not answer a batch of requests")
        return [answers[str(place)] for place in range(len(paths))]

    async def _ask(self, waiting: dict[str, str], answers: dict[str, Any], pause: float) -> float:
        """One batch; takes what was answered out of ``waiting``, and returns the seconds to wait for the rest."""
        requests = [{"id": name, "method": "GET", "url": path} for name, path in waiting.items()]
        found = expect(await self.request("POST", "/$batch", {"requests": requests})).json()
        for answer in found["responses"]:
            status = answer["status"]
            if passes(status, {}):
                asked = str((answer.get("headers") or {}).get("Retry-After", ""))
                pause = max(pause, float(asked) if asked.isdigit() else 0.0)
                continue
            if status in (401, 403):
                raise Denied("Graph does not let this app read permissions; it needs Sites.FullControl.All.")
            answers[answer["id"]] = answer.get("body") if status == 200 else None
            waiting.pop(answer["id"], None)
        return pause

    async def _authorized(self) -> str:
        """The app's token, a new one shortly before the old one ends."""
        if time.monotonic() < self._ends - 300:
            return self._token
        settings = self._settings
        assert settings.graph_client_secret is not None
        form = {
            "grant_type": "client_credentials",
            "client_id": str(settings.graph_client_id),
            "client_secret": settings.graph_client_secret.get_secret_value(),
            "scope": f"{URL(self._base).origin()}/.default",
        }
        url = URL(f"{settings.graph_login_url.rstrip('/')}/{self.tenant}/oauth2/v2.0/token")
        if url.scheme != "https" and (url.host or "").lower() not in self._client.allowed:
            raise SettingsError("ALMANAC_GRAPH_LOGIN_URL is wrong: a secret is sent over https only.")
        response = await self._client.request("POST", str(url), form=form)
        if response.status != 200:
            raise Denied("Microsoft gives this app no token; ALMANAC_GRAPH_CLIENT_ID and its secret do not fit.")
        answer = response.json()
        self._token, self._ends = answer["access_token"], time.monotonic() + float(answer["expires_in"])
        return self._token
