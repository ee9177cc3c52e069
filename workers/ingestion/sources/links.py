"""The links of a page, and whether it wants to be found."""

from __future__ import annotations

from lxml import etree, html
from yarl import URL

MOST_LINKS = 5_000
HIDDEN = frozenset({"noindex", "none"})


def wishes_of(text: str) -> frozenset[str]:
    """The words of a robots tag or header, each whole: ``max-image-preview:none`` is not ``none``."""
    return frozenset(wish.strip().lower() for wish in text.split(","))


def links_of(content: bytes, address: str) -> tuple[list[str], bool]:
    """Absolute addresses without fragments, in order; and False where the page asks not to be indexed."""
    try:
        page = html.document_fromstring(content)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return [], True
    wishes = wishes_of(
        ",".join(tag.get("content", "") for tag in page.iter("meta") if tag.get("name", "").lower() == "robots")
    )
    indexed = wishes.isdisjoint(HIDDEN)
    if not wishes.isdisjoint(("nofollow", "none")):
        return [], indexed
    base = next((tag.get("href") for tag in page.iter("base") if tag.get("href")), None)
    found: dict[str, None] = {}
    for tag in page.iter("a"):
        link = _absolute(tag.get("href"), _absolute(base, address) or address)
        if link is not None and "nofollow" not in (tag.get("rel") or ""):
            found[link] = None
        if len(found) >= MOST_LINKS:
            break
    return list(found), indexed


def _absolute(link: str | None, base: str) -> str | None:
    if not link or link.startswith(("#", "mailto:", "javascript:", "tel:", "data:")):
        return None
    try:
        url = URL(base).join(URL(link.strip()))
        return str(url.with_fragment(None)) if url.scheme in ("http", "https") and url.host and url.port else None
    except ValueError:  # the port is looked at last
        return None
