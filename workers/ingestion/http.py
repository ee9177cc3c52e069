"""The one HTTP client of the sources: guarded, bounded, patient, and discreet about credentials.

Guarded against requests that are made to turn inwards (SSRF): addresses are checked where the connection is made, so
that neither a redirect nor a name that resolves differently the second time (DNS rebinding) leads past the check. A
credential goes to the host it was made for and is dropped where a redirect leads elsewhere.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import orjson
import structlog
from yarl import URL

from assistant.addresses import Forbidden
from assistant.bodies import read_up_to
from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.guard import Resolver, check

log = structlog.get_logger()

TIMEOUT = aiohttp.ClientTimeout(total=60.0, connect=8.0, sock_read=30.0)
REDIRECTS = 5
RETRIES = 3
LONGEST_WAIT = 60.0  # seconds to wait on the spot; a server that asks for more is come back to later
USER_AGENT = "Almanac/1.0 (knowledge assistant)"
PASSING = frozenset({408, 423, 425, 429})  # and what a server says of itself, but for what it never does:
LASTING = frozenset({501, 505, 511})
THROTTLED = re.compile(rb"secondary rate limit|rate limit exceeded|abuse detection", re.IGNORECASE)
THROTTLED_SECONDS = 60.0  # as GitHub asks of whoever is told no time


class Unavailable(DocumentUnreadable):
    """It may work later: the network, a limit, or a server that fails. ``retry_after``: seconds, where it said so."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Denied(AlmanacError):
    """The server knows the credential and does not let it in, or misses one."""


@dataclass(frozen=True, slots=True)
class Response:
    """``url`` is where it came from in the end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def json(self) -> Any:
        try:
            return orjson.loads(self.body)
        except ValueError:
            raise Unavailable("the server gave an answer that is not JSON") from None

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Client:
    """``allowed``: hosts that may have addresses inside our network; ``max_bytes`` of a body.

    Use as ``async with``. What passes (network, 429, 5xx) is tried again, as the server asks; then ``Unavailable``.
    """

    def __init__(
        self,
        allowed: Collection[str],
        max_bytes: int,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        retries: int = RETRIES,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        self.allowed = frozenset(host.lower() for host in allowed)
        self.max_bytes = max_bytes
        self._timeout = timeout
        self._retries = retries
        self._longest_wait = longest_wait
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get_json(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """The body of a 200; None for 404 and 410. Raises ``Denied``, ``Unavailable`` or ``DocumentUnreadable``."""
        response = await self.request("GET", url, headers)
        return None if response.status in (404, 410) else expect(response).json()

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, json: Any = None, form: Any = None
    ) -> Response:
        """The answer, whatever its status is, unless it is one that passes. Redirects of a GET are followed."""
        attempt = 0
        while True:
            try:
                return await self._once(method, URL(url), dict(headers or {}), json, form)
            except Unavailable as error:
                wait = error.retry_after if error.retry_after is not None else 0.5 * 2**attempt
                if attempt >= self._retries or wait > self._longest_wait:
                    raise
                attempt += 1
                log.info("fetch.again", host=URL(url).host, wait=round(wait, 1), reason=str(error))
            await asyncio.sleep(wait)

    async def _once(self, method: str, url: URL, headers: dict[str, str], json: Any, form: Any) -> Response:
        try:
            return await self._follow(method, url, headers, json, form)
        except Forbidden as error:
            raise DocumentUnreadable(str(error)) from None
        except TimeoutError:
            raise Unavailable("the server did not answer in time") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, Forbidden):
                raise DocumentUnreadable(str(error.os_error)) from None
            raise Unavailable("the server cannot be reached") from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise DocumentUnreadable(f"the server gave no readable answer ({type(error).__name__})") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the server gave no readable answer ({type(error).__name__})") from None

    async def _follow(self, method: str, url: URL, headers: dict[str, str], json: Any, form: Any) -> Response:
        for _ in range(REDIRECTS + 1):
            check(url, self.allowed)
            self._keep_secret(url, headers)
            async with self._opened().request(
                method, url, headers=headers, json=json, data=form, allow_redirects=False
            ) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    target = url.join(URL(response.headers["Location"]))
                    if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
                    method, json, form, url = "GET", None, None, target
                    continue
                if passes(response.status, response.headers):
                    reason = f"the server answered {response.status} {response.reason or ''}".strip()
                    raise Unavailable(reason, wait_asked(response.headers))
                body = await self._read(response)
                if response.status == 403 and THROTTLED.search(body[:4096]):
                    raise Unavailable("the server answered 403: its limit of requests is reached", THROTTLED_SECONDS)
                lower = {name.lower(): value for name, value in response.headers.items()}
                return Response(response.status, lower, body, str(url.with_fragment(None)))
        raise DocumentUnreadable(f"the address redirects more than {REDIRECTS} times")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=Resolver(self.allowed), limit=8, use_dns_cache=False)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, headers={"User-Agent": USER_AGENT}, trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )  # fmt: skip
        return self._session

    def _keep_secret(self, url: URL, headers: Mapping[str, str]) -> None:
        secret = any(name.lower() == "authorization" for name in headers)
        if secret and url.scheme != "https" and (url.host or "").lower() not in self.allowed:
            raise DocumentUnreadable("a credential is sent over https only")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = await read_up_to(response.content, self.max_bytes + 1)
        if len(body) > self.max_bytes:
            limit = self.max_bytes / 2**20
            raise DocumentUnreadable(f"the page is too large (ALMANAC_FILE_MAX_MB is {limit:g})")
        return body


def passes(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the same request may work later. GitHub says 403 where it means 429."""
    limited = status == 403 and ("Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0")
    return status in PASSING or (status >= 500 and status not in LASTING) or limited


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: ``Retry-After`` (a number or a date), or when GitHub's limit resets."""
    asked = headers.get("Retry-After", "").strip()
    if asked:
        if asked.isdigit():
            return float(asked)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
        except ValueError:
            return None
    reset = headers.get("X-RateLimit-Reset", "")
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset) - time.time()) + 1.0
    return None


def expect(response: Response) -> Response:
    """The response, when it is 200; else an error that says what it was."""
    if response.status == 200:
        return response
    host = URL(response.url).host
    if response.status in (401, 403):
        raise Denied(
            f"{host} does not let us in (it answered {response.status}); the credential is missing or lacks a right."
        )
    raise DocumentUnreadable(f"the server answered {response.status}")
