"""The addresses that a site's sitemaps name, of indexes and packed ones too. Nothing is trusted about their size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree
from yarl import URL

from assistant.errors import DocumentUnreadable
from workers.ingestion.http import Client, Unavailable

MOST_SITEMAPS = 1_000
MOST_PAGES = 100_000
BLANK = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True, slots=True)
class Sitemap:
    """Address -> when it was last changed, as the sitemap says (or ""). Not ``whole``: a part of it could not be had,
    and what it does not name may still be there."""

    pages: dict[str, str]
    whole: bool


async def pages_of(client: Client, addresses: Iterable[str], prefix: URL) -> Sitemap | None:
    """The pages below ``prefix``; None where no sitemap names any."""
    waiting, seen, parts = list(dict.fromkeys(addresses)), set[str](), set[str]()
    pages: dict[str, str] = {}
    whole = True
    while waiting and len(seen) < MOST_SITEMAPS:
        address = waiting.pop(0)
        seen.add(address)
        found = await _sitemap(client, address)
        if found is None:  # many sites answer every address with a page of theirs
            whole = whole and address not in parts
            continue
        kind, entries = found
        if kind == "sitemapindex":
            new = [place for place, _ in entries if place not in seen and inside(place, prefix.origin())]
            parts.update(new)
            waiting += new
        else:
            pages |= {plain(place): when for place, when in entries if inside(place, prefix)}
        if len(pages) > MOST_PAGES:
            raise DocumentUnreadable(f"the sitemaps name more than {MOST_PAGES:,} pages; choose a longer address")
    return Sitemap(pages, whole and not waiting) if pages else None


async def _sitemap(client: Client, address: str) -> tuple[str, list[tuple[str, str]]] | None:
    """What ``_read`` makes of it; None where there is none."""
    try:
        response = await client.request("GET", address)
        if response.status == 200:
            return await asyncio.to_thread(_read, response.body, client.max_bytes)
    except Unavailable:
        raise
    except (DocumentUnreadable, etree.XMLSyntaxError, zlib.error, EOFError, ValueError):
        pass
    return None


def absolute(address: str, base: URL) -> str | None:
    """An address as a site writes it, whole; None for what is none."""
    try:
        url = base.join(URL(address.strip())).with_fragment(None)
        return str(url) if url.scheme in ("http", "https") and url.host and url.port else None
    except ValueError:
        return None


def inside(address: str, prefix: URL) -> bool:
    """As ``within``, of what may be no address at all."""
    return absolute(address, prefix) is not None and within(URL(address), prefix)


def within(url: URL, prefix: URL) -> bool:
    """Below the prefix: ``/docs`` holds ``/docs/a``, not ``/docs-old``."""
    if (url.scheme, url.host, url.port) != (prefix.scheme, prefix.host, prefix.port):
        return False
    base = prefix.raw_path.rstrip("/")
    return url.raw_path == base or url.raw_path.startswith(base + "/")


def plain(address: str) -> str:
    """Without a fragment, in one spelling."""
    return str(URL(address).with_fragment(None))


def _read(body: bytes, max_bytes: int) -> tuple[str, list[tuple[str, str]]]:
    """The root's name, and each entry's address and date."""
    if body[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        body = unpacker.decompress(body, max_bytes)
        if unpacker.unconsumed_tail:
            raise ValueError("too large")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    root = etree.fromstring(body.lstrip(BLANK), parser)  # a blank line before the declaration is no XML, and common
    kind = etree.QName(root).localname
    if kind not in ("urlset", "sitemapindex"):
        raise ValueError("not a sitemap")
    entries = []
    for entry in root:
        fields = list(entry.iterchildren(etree.Element))
        values = {etree.QName(field).localname: (field.text or "").strip() for field in fields}
        if values.get("loc", "").startswith(("http://", "https://")):
            entries.append((values["loc"], values.get("lastmod", "")))
    return kind, entries
