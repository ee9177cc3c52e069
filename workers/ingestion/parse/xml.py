"""XML: feeds as a section per entry, other vocabularies as their elements' words, structure by nesting.

Entities are not expanded and nothing outside the file is fetched; a file that declares entities is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import html
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

MAX_DEPTH = 200
_DECLARED = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
_ENTITY = re.compile(r"<!ENTITY\s", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[[^\]]*\])?\s*>", re.IGNORECASE)
_ENTRIES = frozenset({"item", "entry"})
_BODY = ("encoded", "content", "description", "summary", "tagline", "subtitle")
_DATES = ("pubDate", "updated", "published", "modified", "issued", "date")
_PROSE = frozenset(
    "p para simpara text title head li item".split()
)  # their names say nothing that their place does not
_SECTIONS = frozenset(
    "sec section chapter article topic book part appendix sect1 sect2 sect3 div body front back".split()
)
_NAMED = ("title", "name", "label", "id", "key")


def read(content: bytes, name: str) -> Draft:
    declared = _DECLARED.search(content[:1024])
    source = decode(content, declared[1].decode() if declared else None)
    root, ended = _parsed(source)
    metadata = {} if ended else {"truncated": "the XML ends too early"}
    if _tag(root) in ("rss", "feed", "RDF"):
        return _feed(root, metadata)
    if _tag(root) == "html":
        return html.read(content, name)
    return Draft(list(_Walker().blocks(root)), metadata=metadata)


def safe_root(content: bytes) -> etree._Element:
    """The root of XML inside another file."""
    return _parsed(decode(content))[0]


def _parsed(source: str) -> tuple[etree._Element, bool]:
    """The root, and whether it was closed: what is not well formed is read as far as it goes."""
    if _ENTITY.search(source):
        raise DocumentUnreadable("the file declares XML entities, which can swell without end, and was not read")
    source = _DOCTYPE.sub("", _DECLARATION.sub("", source, count=1), count=1).strip()
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True, huge_tree=False)
    root = etree.fromstring(source.encode("utf-8", "replace"), parser) if source else None
    if root is None:
        raise DocumentUnreadable("the file is not valid XML")
    early = any(entry.type_name in ("ERR_TAG_NOT_FINISHED", "ERR_DOCUMENT_END") for entry in parser.error_log)
    return root, not early


def _tag(node: etree._Element) -> str:
    return etree.QName(node).localname if isinstance(node.tag, str) else ""


def _feed(root: etree._Element, metadata: dict[str, str]) -> Draft:
    channel = next((node for node in root if _tag(node) == "channel"), root)
    blocks = list(_words(_child(channel, *_BODY)))
    for entry in root.iter():
        if _tag(entry) in _ENTRIES:
            blocks.extend(_entry(entry))
    return Draft(blocks, _inline(_child(channel, "title")), metadata=metadata)


def _entry(entry: etree._Element) -> Iterator[Block]:
    yield Block("heading", _inline(_child(entry, "title")) or "Entry", level=2)
    author, date = _child(entry, "creator", "author"), _child(entry, *_DATES)
    line = ", ".join(filter(None, (_inline(author), _inline(date))))
    if line:
        yield Block("paragraph", line)
    for block in _words(_child(entry, *_BODY)):
        yield Block(block.kind, block.text, min(block.level + 2, 6), block.rows) if block.kind == "heading" else block


def _child(node: etree._Element, *names: str) -> etree._Element | None:
    """The first child of the first of these names that has words."""
    for name in names:
        for child in node:
            if _tag(child) == name and "".join(child.itertext()).strip():
                return child
    return None


def _words(node: etree._Element | None) -> Iterator[Block]:
    """Text that is HTML, escaped or not."""
    if node is None:
        return
    if len(node):
        inner = "".join(etree.tostring(child, encoding="unicode") for child in node)
        yield from html.fragment((node.text or "") + inner)
    else:
        yield from html.fragment("".join(map(str, node.itertext())))


def _inline(node: etree._Element | None) -> str:
    return " ".join(block.text.replace("\n", " ") for block in _words(node))


class _Walker:
    """An element with children is a section named by its tag; one whose children are all leaves is a record."""

    def blocks(self, node: etree._Element, level: int = 1, depth: int = 0) -> Iterator[Block]:
        if depth > MAX_DEPTH:
            raise RecursionError
        elements = [child for child in node if isinstance(child.tag, str)]
        if not elements:
            text = _leaf(node)
            if text:
                yield Block("paragraph", text)
            return
        if _tag(node) in _PROSE:
            yield Block("paragraph", " ".join("".join(map(str, node.itertext())).split()))
            return
        if all(len(child) == 0 for child in elements) and _tag(node) not in _SECTIONS:
            yield from self._record(node, elements, level)
            return
        if _tag(node) in _SECTIONS:
            yield from self._section(node, level, depth)
            return
        if depth:
            yield Block("heading", self._name(node), level=min(level, 6))
        if node.text and node.text.strip():
            yield Block("paragraph", node.text)
        for child in elements:
            yield from self.blocks(child, level + 1, depth + 1)
            if child.tail and child.tail.strip():
                yield Block("paragraph", child.tail)

    def _section(self, node: etree._Element, level: int, depth: int) -> Iterator[Block]:
        """Of an article or a book: named by its title, if it has one."""
        title = _child(node, "title")
        if title is not None:
            yield Block("heading", _inline(title), level=min(level, 6))
        for child in node:
            if child is not title and isinstance(child.tag, str):
                yield from self.blocks(child, level + (title is not None), depth + 1)

    def _record(self, node: etree._Element, elements: list[etree._Element], level: int) -> Iterator[Block]:
        mixed = bool((node.text or "").strip()) or any((child.tail or "").strip() for child in elements)
        if mixed:
            yield Block("paragraph", " ".join("".join(map(str, node.itertext())).split()))
            return
        yield Block("heading", self._name(node), level=min(max(level, 2), 6))
        for child in elements:
            text = _leaf(child)
            if text:
                yield Block("list_item", text)

    def _name(self, node: etree._Element) -> str:
        own = next((str(node.get(key)) for key in _NAMED if node.get(key)), "")
        own = own or _inline(_child(node, *_NAMED))
        return f"{_tag(node)} {own}".strip()[:100]


def _leaf(node: etree._Element) -> str:
    values = [f"{etree.QName(key).localname}={value}" for key, value in node.items()]
    text = " ".join("".join(map(str, node.itertext())).split())
    if "<" in text and ">" in text:
        text = " ".join(block.text for block in html.fragment(text))
    if _tag(node) in _PROSE:
        return text
    shown = ", ".join(filter(None, [text, *values]))
    return f"{_tag(node)}: {shown}" if shown else ""
