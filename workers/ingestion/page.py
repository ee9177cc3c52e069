"""Fetches one page of the web, and nothing inside our own network unless a setting names its host."""

from __future__ import annotations

import mimetypes
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from urllib.parse import unquote

import aiohttp
from yarl import URL

from assistant.errors import DocumentUnreadable
from workers.ingestion.http import TIMEOUT, Client, Response

GONE = (404, 410)
ACCEPT = {"Accept": "text/html,text/markdown,application/pdf,*/*"}
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
    """``name`` ends in the extension that says what the content is; ``url`` is where it was in the end.

    ``version`` is what the server calls this state of it: its ETag and date, empty where it names neither.
    """

    name: str
    content: bytes
    url: str
    version: str = ""
    modified: str = ""  # the day that the server gives
    wishes: str = ""  # of its X-Robots-Tag


class Fetcher:
    """``allowed``: hosts that may have addresses inside our network; ``max_bytes`` of a body."""

    def __init__(self, allowed: Collection[str], max_bytes: int, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        self._allowed = allowed
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def get(self, address: str) -> Fetched | None:
        """The page; None when the server says that there is none. Raises ``DocumentUnreadable`` with the reason."""
        async with Client(self._allowed, self._max_bytes, self._timeout, retries=0) as client:
            return await fetch(client, address)


NOT_MODIFIED = Fetched("", b"", "")


async def fetch(
    client: Client, address: str, known: str = "", headers: Mapping[str, str] | None = None
) -> Fetched | None:
    """The page; None when there is none; ``NOT_MODIFIED`` when it is still what ``known`` names."""
    response = await client.request("GET", address, ACCEPT | dict(headers or {}) | conditions(known))
    if response.status in GONE:
        return None
    if response.status == 304 and known:
        return NOT_MODIFIED
    if response.status != 200:
        raise DocumentUnreadable(f"the server answered {response.status}")
    wishes = response.headers.get("x-robots-tag", "")
    name, version = file_name(response), version_of(response)
    return Fetched(name, response.body, response.url, version, modified_of(response), wishes)


def version_of(response: Response) -> str:
    """The validators of a response as one string: ``etag <ETag>`` or ``date <Last-Modified>``."""
    if etag := response.headers.get("etag"):
        return f"etag {etag}"
    return f"date {date}" if (date := response.headers.get("last-modified")) else ""


def modified_of(response: Response) -> str:
    """The day of ``Last-Modified`` (ISO); empty where there is none to understand."""
    try:
        return parsedate_to_datetime(response.headers.get("last-modified", "")).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def conditions(version: str) -> dict[str, str]:
    """The headers that ask for the page only if it has changed since ``version``."""
    kind, _, value = version.partition(" ")
    names = {"etag": "If-None-Match", "date": "If-Modified-Since"}
    return {names[kind]: value} if kind in names else {}


def file_name(response: Response) -> str:
    """A file name whose extension fits what the server says it is."""
    url = URL(response.url)
    stem = PurePosixPath(unquote(url.path)).name or url.host or "page"
    kind = response.content_type or "application/octet-stream"
    extension = EXTENSIONS.get(kind) or mimetypes.guess_extension(kind) or ".html"
    named = PurePosixPath(stem).suffix.lower()
    if kind in ("text/plain", "application/octet-stream") and named:
        return stem
    return stem if named == extension else f"{stem}{extension}"
