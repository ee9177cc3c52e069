"""Fetches one page of the web, and nothing inside our own network unless a setting names its host.

Guarded against requests that are made to turn inwards (SSRF): addresses are checked where the connection is made, so
that neither a redirect nor a name that resolves differently the second time (DNS rebinding) leads past the check.
"""

from __future__ import annotations

import asyncio
import ipaddress
import mimetypes
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from assistant.errors import DocumentUnreadable

TIMEOUT = aiohttp.ClientTimeout(total=30.0, connect=8.0)
REDIRECTS = 5
GONE = (404, 410)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HEADERS = {"User-Agent": "Almanac/1.0 (knowledge assistant)", "Accept": "text/html,text/markdown,application/pdf,*/*"}
EXTENSIONS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/pdf": ".pdf",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """``name`` ends in the extension that says what the content is; ``url`` is where it was in the end."""

    name: str
    content: bytes
    url: str


class Fetcher:
    """``allowed``: hosts that may have addresses inside our network; ``max_bytes`` of a body."""

    def __init__(self, allowed: Collection[str], max_bytes: int, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def get(self, address: str) -> Fetched | None:
        """The page; None when the server says that there is none. Raises ``DocumentUnreadable`` with the reason."""
        connector = aiohttp.TCPConnector(resolver=_Resolver(self._allowed), force_close=True)
        try:
            async with aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, headers=HEADERS, trust_env=False
            ) as session:
                return await self._follow(session, URL(address))
        except _Forbidden as error:
            raise DocumentUnreadable(str(error)) from None
        except TimeoutError:
            raise DocumentUnreadable("the server did not answer in time") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _Forbidden):
                raise DocumentUnreadable(str(error.os_error)) from None
            raise DocumentUnreadable("the server cannot be reached") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DocumentUnreadable(f"the server gave no readable answer ({type(error).__name__})") from None

    async def _follow(self, session: aiohttp.ClientSession, url: URL) -> Fetched | None:
        for _ in range(REDIRECTS + 1):
            self._check(url)
            async with session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    url = url.join(URL(response.headers["Location"]))
                    continue
                if response.status in GONE:
                    return None
                if response.status != 200:
                    raise DocumentUnreadable(f"the server answered {response.status} {response.reason or ''}".strip())
                return Fetched(_name(url, response), await self._read(response), str(url.with_fragment(None)))
        raise DocumentUnreadable(f"the address redirects more than {REDIRECTS} times")

    def _check(self, url: URL) -> None:
        """What can be said without a connection; names are checked when they are resolved."""
        if url.scheme not in ("http", "https") or not url.host:
            raise _Forbidden("only http and https addresses are fetched")
        try:
            literal = ipaddress.ip_address(url.host)
        except ValueError:
            return
        if url.host.lower() not in self._allowed and not _public(literal):
            raise _Forbidden(_inside(url.host))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_chunked(65_536):
            body += piece
            if len(body) > self._max_bytes:
                limit = self._max_bytes / 2**20
                raise DocumentUnreadable(f"the page is too large (ALMANAC_FILE_MAX_MB is {limit:g})")
        return bytes(body)


class _Forbidden(OSError):
    """An address that nothing may be fetched from. An OSError, so that the connector carries it."""


class _Resolver(AbstractResolver):
    """The system's resolver, whose answers are checked: what it returns is what is connected to."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = [_result(host, port, info) for info in infos]
        if host.lower() not in self._allowed:
            for result in results:
                if not _public(ipaddress.ip_address(result["host"].partition("%")[0])):
                    raise _Forbidden(_inside(host))
        return results

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, port: int, info: tuple[Any, ...]) -> ResolveResult:
    family, _, proto, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=port, family=family, proto=proto, flags=flags)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is one of the whole Internet's; an IPv4 address inside an IPv6 one is what counts."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or inner or address
    return address.is_global and not address.is_multicast


def _inside(host: str) -> str:
    return f"{host} lies inside a private network; ALMANAC_FETCH_ALLOWED_HOSTS names the hosts there that may be read"


def _name(url: URL, response: aiohttp.ClientResponse) -> str:
    """A file name whose extension fits what the server says it is."""
    stem = PurePosixPath(unquote(url.path)).name or url.host or "page"
    kind = response.content_type
    extension = EXTENSIONS.get(kind) or mimetypes.guess_extension(kind) or ".html"
    named = PurePosixPath(stem).suffix.lower()
    if kind in ("text/plain", "application/octet-stream") and named:
        return stem
    return stem if named == extension else f"{stem}{extension}"
