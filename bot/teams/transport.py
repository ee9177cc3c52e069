"""The HTTP layer under the SDK's client, as policies of its own pipeline (msrest): one attempt, with deadlines.

What it replaces retries by itself, waits without a deadline, and fetches tokens on the event loop.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
import requests
import structlog
from msrest.pipeline import Request, Response
from msrest.pipeline.async_abc import AsyncHTTPPolicy, AsyncHTTPSender
from yarl import URL

from assistant.bodies import read_up_to
from bot.teams.port import Refused, Unreachable

log = structlog.get_logger()

QUERY_HEADER = "X-Almanac-Query"  # carries a query string past the SDK, which has no parameter for it; never sent
CALL_TIMEOUT = aiohttp.ClientTimeout(total=15.0)
LOGIN_TIMEOUT = 10.0  # of each of the few requests that getting a token takes
MAX_RESPONSE = 64 * 1024


class Credentials(Protocol):
    """The SDK's credentials: blocking; ``app`` holds their token cache, and is made anew when None."""

    app: Any

    def get_access_token(self) -> str: ...


class Tokens:
    """The app's own access token; the SDK's credentials block, so they run in a thread, one call at a time."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._lock = asyncio.Lock()

    async def get(self) -> str | None:
        if self._credentials is None:
            return None
        try:
            async with asyncio.timeout(4 * LOGIN_TIMEOUT), self._lock:
                return str(await asyncio.to_thread(self._credentials.get_access_token))
        except (requests.RequestException, TimeoutError) as error:
            raise Unreachable(f"the login service cannot be reached ({type(error).__name__})") from error
        except (PermissionError, LookupError, ValueError) as error:  # wrong id, secret or tenant
            log.error("teams.login_refused", error=type(error).__name__)  # noqa: TRY400 - its text may name secrets
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "no access token") from None

    async def forget(self) -> None:
        async with self._lock:  # never under a call that uses it
            if self._credentials is not None:
                self._credentials.app = None


class Bearer(AsyncHTTPPolicy[Any, Any]):
    """Adds the token; a token that is no longer accepted is replaced once (a 401 had no effect)."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    async def send(self, request: Request[Any], **kwargs: Any) -> Response[Any, Any]:
        assert self.next is not None, "a policy stands in a pipeline"
        await self._sign(request)
        try:
            return await self.next.send(request, **kwargs)
        except Refused as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
        await self._tokens.forget()
        await self._sign(request)
        return await self.next.send(request, **kwargs)

    async def _sign(self, request: Request[Any]) -> None:
        if token := await self._tokens.get():
            request.http_request.headers["Authorization"] = f"Bearer {token}"


class Sender(AsyncHTTPSender[Any, Any]):
    """One attempt with a deadline, on the event loop; an error status is ``Refused``, silence ``Unreachable``."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __aexit__(self, *_: object) -> None:
        """The session belongs to the application."""

    async def send(self, request: Request[Any], **_: Any) -> Response[Any, Any]:
        sent = request.http_request
        headers = {name: value for name, value in sent.headers.items() if name.lower() != "content-length"}
        url = URL(sent.url, encoded=True)
        if query := headers.pop(QUERY_HEADER, None):
            url = url.update_query(query)
        data = None
        if sent.data:
            data = json.dumps(json.loads(sent.data), ensure_ascii=False).encode()  # \u escapes would double the size
        try:
            async with self._session.request(
                sent.method, url, data=data, headers=headers, timeout=CALL_TIMEOUT, allow_redirects=False
            ) as response:
                body = await read_up_to(response.content, MAX_RESPONSE)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"no answer from Teams ({type(error).__name__})") from error
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            code, reason = _error(body)
            raise Refused(response.status, code, _seconds(response.headers.get("Retry-After")), reason)
        return Response(request, _Received(response.status, _object(body)))


class _Received:
    """As much of an HTTP response as the SDK looks at."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status_code = status
        self.headers = {"content-type": "application/json"}
        self._body = body

    def text(self, _encoding: str | None = None) -> str:
        return json.dumps(self._body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(body: bytes) -> tuple[str, str]:
    """The code and the text of an error, both cut short; the text is compared, never shown."""
    error = _object(body).get("error")
    if not isinstance(error, dict):
        return "", ""
    return str(error.get("code") or "")[:60], str(error.get("message") or "")[:300]


def _seconds(value: str | None) -> float | None:
    """``Retry-After`` in seconds; its other form, a date, is not used by Teams."""
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
