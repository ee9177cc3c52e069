"""OpenDocument text, spreadsheets and presentations: headings, lists, tables, slides with their notes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import checked_parts, local
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.sheet import blocks as sheet_blocks
from workers.ingestion.parse.xlsx import MAX_CELLS, MAX_COLUMNS, capped, note

_URN = "urn:oasis:names:tc:opendocument:xmlns:"
TEXT, TABLE, OFFICE, DRAW, STYLE, SHOW = (
    f"{{{_URN}{name}:1.0}}" for name in ("text", "table", "office", "drawing", "style", "presentation")
)
_DC = "{http://purl.org/dc/elements/1.1/}"
_SKIPPED = frozenset({f"{TEXT}tracked-changes", f"{OFFICE}annotation", f"{OFFICE}forms", f"{TEXT}sequence-decls"})
_KINDS = {f"{OFFICE}text", f"{OFFICE}spreadsheet", f"{OFFICE}presentation"}
_PARTS = frozenset({"content.xml", "styles.xml", "meta.xml", "META-INF/manifest.xml"})


def read(content: bytes, name: str) -> Draft:
    parts = checked_parts(content, _PARTS.__contains__)
    if b"encryption-data" in parts.get("META-INF/manifest.xml", b""):
        raise DocumentUnreadable("the file is protected by a password")
    root = _xml(parts.get("content.xml"))
    body = root.find(f"{OFFICE}body") if root is not None else None
    main = next((node for node in body if node.tag in _KINDS), None) if body is not None else None
    if root is None or main is None:
        raise DocumentUnreadable("the file is a ZIP archive but not an OpenDocument file")
    named = _styles(parts.get("styles.xml"))
    styles = [root] if named is None else [root, named]
    hidden = _without_hidden(main, styles)
    reader = _Reader(_parents(root), _numbered(styles))
    blocks = list(reader.sheets(main) if main.tag == f"{OFFICE}spreadsheet" else reader.blocks(main))
    meta = _xml(parts.get("meta.xml"))
    found = {tag: _value(meta, f".//{_DC}{tag}") for tag in ("title", "creator", "date")}
    metadata = {"author": found["creator"], "updated": found["date"][:10]} | note(reader.truncated) | hidden
    return Draft(blocks, reader.title, found["title"], metadata)


def _xml(data: bytes | None) -> ET.Element | None:
    if data is None:
        return None
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DocumentUnreadable("the file declares XML entities, which Office files never do, and was not read")
    return ET.fromstring(data)  # noqa: S314 - no DTD comes past the check above  # nosec B314


def _styles(data: bytes | None) -> ET.Element | None:
    try:
        return _xml(data)
    except ET.ParseError:  # broken styles must not lose the text
        return None


def _without_hidden(main: ET.Element, styles: list[ET.Element]) -> dict[str, str]:
    """Takes out what no reader of the document sees; says so, where there was some."""
    properties = f"{STYLE}text-properties[@{TEXT}display='none']"
    found = {
        node.get(f"{STYLE}name", "")
        for root in styles
        for node in root.iter(f"{STYLE}style")
        if node.find(properties) is not None
    }
    hidden = [node for node in main.iter() if node.get(f"{TEXT}style-name") in found] if found else []
    for node in hidden:
        tail = node.tail
        node.clear()
        node.tail = tail
    return {"hidden_text": "left out"} if hidden else {}


def _numbered(styles: list[ET.Element]) -> frozenset[tuple[str, str]]:
    """(list style, level from 1) whose items are counted rather than marked."""
    return frozenset(
        (style.get(f"{STYLE}name", ""), level.get(f"{TEXT}level", ""))
        for root in styles
        for style in root.iter(f"{TEXT}list-style")
        for level in style.findall(f"{TEXT}list-level-style-number")
        if level.get(f"{STYLE}num-format")
    )


def _value(root: ET.Element | None, path: str) -> str:
    found = root.find(path) if root is not None else None
    return (found.text or "") if found is not None else ""


def _parents(root: ET.Element) -> dict[str, str]:
    """Automatic style -> the named style that it varies."""
    key = f"{STYLE}name"
    return {node.get(key, ""): node.get(f"{STYLE}parent-style-name", "") for node in root.iter(f"{STYLE}style")}


class _Reader:
    def __init__(self, parents: dict[str, str], numbered: frozenset[tuple[str, str]]) -> None:
        self._parents = parents
        self._numbered = numbered
        self._list_styles: list[str] = []  # of the lists around the place that is read
        self._page: int | None = None
        self.title = ""
        self.truncated: list[str] = []

    def blocks(self, parent: ET.Element, depth: int = -1, marker: str = "") -> Iterator[Block]:
        for child in parent:
            match local(child) if child.tag not in _SKIPPED else "":
                case "h":
                    level = child.get(f"{TEXT}outline-level", "1")
                    yield self._heading(_text(child), min(int(level) if level.isdecimal() else 1, 6))
                case "p":
                    yield from self._paragraph(child, depth, marker)
                    marker = ""
                case "list":
                    yield from self._list(child, depth + 1)
                case "table" if child.tag == f"{TABLE}table":
                    yield Block("table", rows=tuple(self._rows(child)[0]), page=self._page)
                case "page":
                    yield from self._slide(child)
                case "notes":
                    yield from self._notes(child)
                case "":
                    pass
                case _:
                    yield from self.blocks(child, depth, marker)

    def sheets(self, main: ET.Element) -> Iterator[Block]:
        for page, sheet in enumerate(main.findall(f"{TABLE}table"), 1):
            name = sheet.get(f"{TABLE}name", f"Sheet {page}")
            rows, cut = self._rows(sheet)
            self.truncated += [name] if cut else []
            if any(map(any, rows)):
                yield Block("heading", name, level=2, page=page)
                yield from sheet_blocks(rows, page)

    def _heading(self, text: str, level: int) -> Block:
        return Block("heading", text, level=level, page=self._page)

    def _paragraph(self, node: ET.Element, depth: int, marker: str) -> Iterator[Block]:
        style = node.get(f"{TEXT}style-name", "")
        style = self._parents.get(style) or style
        text = _text(node).strip()
        if style == "Title" and text and not self.title:
            self.title = text
            yield self._heading(text, 1)
        elif "Preformatted" in style or "Source" in style:
            yield Block("code", _text(node), page=self._page)
        elif text and depth >= 0:
            yield Block("list_item", marker + text, level=depth, page=self._page)
        elif text:
            yield Block("paragraph", text, page=self._page)
        for frame in node.iter(f"{DRAW}text-box"):
            yield from self.blocks(frame)

    def _list(self, node: ET.Element, depth: int) -> Iterator[Block]:
        above = self._list_styles[-1] if self._list_styles else ""
        style = node.get(f"{TEXT}style-name") or above
        counted = (style, str(depth + 1)) in self._numbered
        number = 0
        self._list_styles.append(style)
        for item in node:
            if item.tag == f"{TEXT}list-item":
                start = item.get(f"{TEXT}start-value", "")
                number = int(start) if start.isdecimal() and len(start) < 7 else number + 1
                yield from self.blocks(item, depth, f"{number}. " if counted else "")
            elif item.tag == f"{TEXT}list-header":
                yield from self.blocks(item, depth)
        self._list_styles.pop()

    def _slide(self, page: ET.Element) -> Iterator[Block]:
        self._page = (self._page or 0) + 1
        titles = [frame for frame in page.findall(f"{DRAW}frame") if frame.get(f"{SHOW}class") in ("title",)]
        named = " ".join(_text(frame) for frame in titles).strip()
        yield self._heading(named or f"Slide {self._page}", 2)
        rest = ET.Element("rest")
        rest.extend([child for child in page if not any(child is frame for frame in titles)])
        yield from self.blocks(rest)

    def _notes(self, node: ET.Element) -> Iterator[Block]:
        found = list(self.blocks(_copy(node)))
        if any(block.text for block in found):
            yield self._heading("Notes", 3)
            yield from found

    def _rows(self, table: ET.Element) -> tuple[list[tuple[str, ...]], bool]:
        return capped(_cells(table.iter(f"{TABLE}table-row")), MAX_CELLS)


def _copy(node: ET.Element) -> ET.Element:
    holder = ET.Element("notes-body")
    holder.extend(list(node))
    return holder


def _cells(rows: Iterable[ET.Element]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        cells: list[str] = []
        for cell in row:
            if not cell.tag.endswith(("table-cell", "covered-table-cell")):
                continue
            text = "\n".join(_text(paragraph) for paragraph in cell.iter(f"{TEXT}p"))
            repeat = cell.get(f"{TABLE}number-columns-repeated", "1")
            times = int(repeat) if repeat.isdecimal() and len(repeat) < 6 else 1
            cells.extend([text] * min(times, MAX_COLUMNS))
        while cells and not cells[-1]:
            cells.pop()
        yield tuple(cells[:MAX_COLUMNS])


def _text(node: ET.Element) -> str:
    """The words of a paragraph, without its text boxes, which are paragraphs of their own."""
    parts = [node.text or ""]
    for child in node:
        if child.tag == f"{TEXT}s":
            parts.append(" " * min(int(child.get(f"{TEXT}c", "1") or 1), 100))
        elif child.tag == f"{TEXT}tab":
            parts.append("\t")
        elif child.tag == f"{TEXT}line-break":
            parts.append("\n")
        elif child.tag == f"{TEXT}note":
            body = child.find(f"{TEXT}note-body")
            parts.append(f" ({_text(body).strip()})" if body is not None else "")
        elif child.tag != f"{DRAW}text-box" and child.tag not in _SKIPPED:
            parts.append(_text(child))
        parts.append(child.tail or "")
    return "".join(parts)
