"""The addresses that a site's sitemaps name, of indexes and packed ones too. Nothing is trusted about their size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable

from lxml import etree
from yarl import URL

from assistant.errors import DocumentUnreadable
from workers.ingestion.http import Client

MOST_SITEMAPS = 1_000
MOST_PAGES = 100_000


async def pages_of(client: Client, addresses: Iterable[str], prefix: URL) -> dict[str, str] | None:
    """Address -> when it was last changed, as the sitemap says (or ""), of pages below ``prefix``.

    None when there is no sitemap at all.
    """
    waiting, seen = list(dict.fromkeys(addresses)), set[str]()
    pages: dict[str, str] = {}
    found = False
    while waiting and len(seen) < MOST_SITEMAPS:
        address = waiting.pop(0)
        seen.add(address)
        response = await client.request("GET", address)
        if response.status != 200:
            continue
        try:
            kind, entries = await asyncio.to_thread(_read, response.body, client.max_bytes)
        except (etree.XMLSyntaxError, zlib.error, EOFError, ValueError):
            continue  # many sites answer every address with a page of theirs
        found = True
        if kind == "sitemapindex":
            waiting += [place for place, _ in entries if place not in seen and within(URL(place), prefix.origin())]
        else:
            pages |= {plain(place): when for place, when in entries if within(URL(place), prefix)}
        if len(pages) > MOST_PAGES:
            raise DocumentUnreadable(f"the sitemaps name more than {MOST_PAGES:,} pages; choose a longer address")
    return pages if found else None


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
    root = etree.fromstring(body, parser)
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
