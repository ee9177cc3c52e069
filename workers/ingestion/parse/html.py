"""HTML pages: the main content without navigation and scripts, walked into blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PreformattedString

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.html_table import is_data, table_rows

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*>", re.IGNORECASE)
_HEADING = re.compile(r"h[1-6]$")
_DROP = "nav, script, style, noscript, template, svg, button, select, iframe, [hidden], [role=navigation], " + (
    "[role=banner], [role=contentinfo], [role=search], .headerlink, .mw-editsection, a.anchor, "
    "footer:not(blockquote footer, figure footer)"
)
_PARTS = ["article", "section"]
_NOTE = re.compile(r"note|admonition|callout|alert|warning|caution|danger|important|hint|\btip\b|\bdoc-", re.I)
_TEXT_BLOCKS = ["p", "h1", "h2", "h3", "h4", "table", "ul", "ol", "pre", "article"]
_MIN_FORM = 200  # characters; a form with more is a page that some frameworks wrap in one
_HIDDEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_META = {
    "author": "author", "article:author": "author", "dc.creator": "author", "dcterms.creator": "author",
    "last-modified": "updated", "article:modified_time": "updated", "og:updated_time": "updated",
    "dcterms.modified": "updated", "owner": "owner",
}  # fmt: skip
_BLOCKS = frozenset(
    "address article blockquote body caption center dd details div dl dt figcaption figure hr html li main ol p pre "
    "section summary table tbody td tfoot th thead tr ul header".split()
)


def read(content: bytes, name: str) -> Draft:
    declared = _CHARSET.search(content[:4096])
    soup = _soup(decode(content, declared[1].decode() if declared else None))
    title = soup.title.get_text() if soup.title else ""
    return Draft(list(_Walker().walk(_main(soup))), "", title, _metadata(soup))


def fragment(source: str) -> Iterator[Block]:
    """The blocks of a piece of HTML inside another format."""
    return _Walker().walk(_stripped(_soup(source)))


def _soup(source: str) -> BeautifulSoup:
    """XHTML is read as HTML, and text without tags as text: Beautiful Soup would warn of both."""
    source = _XML_DECLARATION.sub("", source, count=1)
    return BeautifulSoup(source if "<" in source else f"<p>{source}", "lxml")


def _metadata(soup: BeautifulSoup) -> dict[str, str]:
    found = {}
    for tag in soup.find_all("meta"):
        name = _META.get(str(tag.get("name") or tag.get("property") or "").lower())
        if name and tag.get("content"):
            found[name] = str(tag["content"])
    return found


def _main(soup: BeautifulSoup) -> Tag:
    whole = _stripped(soup)
    for title in whole.find_all("title"):
        title.decompose()
    for selector in ("main", "[role=main]", "article"):
        found = whole.select(selector)
        if len(found) == 1 and len(found[0].get_text()) > 0.3 * len(whole.get_text()):
            return found[0]
    return whole  # not its body: without a tag of its own, that may begin anywhere


def _stripped(soup: BeautifulSoup) -> BeautifulSoup:
    for tag in soup.select(_DROP):
        if not tag.decomposed:
            tag.decompose()
    for tag in soup.find_all(style=_HIDDEN):
        if not tag.decomposed:
            tag.decompose()
    for tag in soup.find_all(["aside", "form"]):
        if not tag.decomposed and not (_is_note(tag) if tag.name == "aside" else _is_page(tag)):
            tag.decompose()
    for header in soup.find_all("header"):
        if not header.decomposed and header.find_parent(_PARTS) is None:
            headings = header.find_all(_HEADING)  # the page's own title often stands in its header
            header.clear()
            header.extend(headings)
    return soup


def _is_note(aside: Tag) -> bool:
    """Footnotes and warnings say that they are; what else stands aside are menus and advertisements."""
    words = " ".join(str(aside.get(key) or "") for key in ("role", "id", "epub:type"))
    classes = " ".join(map(str, aside.get_attribute_list("class"))) if aside.get("class") else ""
    return _NOTE.search(f"{words} {classes}") is not None


def _is_page(form: Tag) -> bool:
    return form.find(_TEXT_BLOCKS) is not None and len(form.get_text(" ", strip=True)) > _MIN_FORM


class _Walker:
    """Depth first; inline text gathers until a block begins or ends."""

    def __init__(self) -> None:
        self._inline: list[str] = []
        self._markers: list[str] = []  # what the text to come is: list items that have had no text yet

    def walk(self, root: Tag) -> Iterator[Block]:
        yield from self._children(root, 0)
        yield from self._flush(0)

    def _children(self, tag: Tag, depth: int) -> Iterator[Block]:
        for child in tag.children:
            if isinstance(child, Tag):
                yield from self._tag(child, depth)
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                self._inline.append(re.sub(r"\s+", " ", child))

    def _tag(self, tag: Tag, depth: int) -> Iterator[Block]:
        name = tag.name
        if name == "br":
            self._inline.append("\n")
        elif name == "img":
            self._inline.append(str(tag.get("alt") or ""))
        elif name in ("code", "kbd", "samp", "tt") and "\n" not in tag.get_text().strip():
            text = tag.get_text().strip()
            self._inline.append(f"`{text}`" if text else "")
        elif _HEADING.match(name):
            yield from self._flush(depth)
            yield Block("heading", _plain(tag), level=int(name[1]), anchor=_anchor(tag))
        elif name == "pre" or (name in ("code", "samp") and "\n" in tag.get_text().strip()):
            yield from self._flush(depth, bare=True)
            yield Block("code", tag.get_text())
        elif name == "table" and is_data(tag):
            yield from self._flush(depth)
            yield Block("table", rows=table_rows(tag))
        elif name in ("ul", "ol"):
            yield from self._list(tag, depth)
        elif name in _BLOCKS:
            yield from self._flush(depth)
            yield from self._children(tag, depth)
            yield from self._flush(depth)
        else:
            yield from self._children(tag, depth)

    def _list(self, tag: Tag, depth: int) -> Iterator[Block]:
        yield from self._flush(depth)
        start = str(tag.get("start") or "1")
        number = int(start) if start.isdecimal() and len(start) < 7 else 1
        for item in tag.find_all("li", recursive=False):
            self._markers.append(f"{number}. " if tag.name == "ol" else "")
            yield from self._children(item, depth + 1)
            yield from self._flush(depth + 1)
            self._markers = []
            number += 1
        for child in tag.find_all(["ul", "ol"], recursive=False):  # invalid, and common
            yield from self._list(child, depth + 1)

    def _flush(self, depth: int, bare: bool = False) -> Iterator[Block]:
        """The gathered text as a paragraph or list item; ``bare`` lets a numbered item be its number alone."""
        text = "".join(self._inline).strip()
        self._inline = []
        marker = self._markers[-1] if self._markers else None
        if not text and not (bare and marker):
            return
        self._markers = []
        if marker is None:
            yield Block("paragraph", text)
        else:
            yield Block("list_item", (marker + text).strip(), level=max(depth - 1, 0))


def _plain(tag: Tag) -> str:
    return re.sub(r"\s*[¶#🔗]+\s*$", "", " ".join(tag.get_text().split()))


def _anchor(heading: Tag) -> str | None:
    """Its own id, that of a child, or that of the section it opens."""
    inside = [heading, *heading.find_all(id=True), *heading.find_all("a", attrs={"name": True})]
    for tag in inside:
        found = tag.get("id") or tag.get("name")
        if found:
            return str(found)
    parent = heading.parent
    if parent and parent.name in ("section", "div") and parent.find(_HEADING) is heading:
        return str(parent.get("id") or "") or None
    return None
