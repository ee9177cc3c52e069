"""PowerPoint: a section per slide, named by its title, with its lists, tables, charts and speaker's notes.

The XML is read directly, like Word's: a broken picture or a missing part must not lose the words of a deck.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.drawing import A, R, graphics, text_of

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})  # what every slide repeats
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def read(content: bytes, name: str) -> Draft:
    package = Package(content)
    main = package.main_part("ppt")
    root = package.xml(main)
    slides = package.related(main, "slide")
    ids = [node.get(f"{R}id", "") for node in root.iter(f"{P}sldId")] if root is not None else []
    if not ids:
        raise DocumentUnreadable("the presentation has no slides")
    blocks: list[Block] = []
    unread: list[str] = []
    first = ""
    for number, slide in enumerate((slides.get(key, "") for key in ids), 1):
        try:
            found = list(_Slide(package, slide, number).blocks())
        except ET.ParseError:
            found = []
        if not found or (len(found) == 1 and slide in package.broken):
            unread.append(str(number))
            continue
        first = first or found[0].text
        blocks.extend(found)
    if len(unread) == len(ids):
        raise DocumentUnreadable("the presentation is damaged: none of its slides can be read")
    properties = package.core_properties()
    title = properties.pop("title")
    usable = "" if title.lower() in ("powerpoint presentation", "presentation") else title
    return Draft(blocks, "", usable or first, properties | package.damage() | {"unread_slides": ", ".join(unread)})


class _Slide:
    def __init__(self, package: Package, part: str, number: int) -> None:
        self._package = package
        self._part = part
        self._number = number
        root = package.xml(part)
        tree = root.find(f"{P}cSld/{P}spTree") if root is not None else None
        self._shapes = list(_shapes(tree)) if tree is not None else []
        self._hidden = root is not None and root.get("show") == "0"

    def blocks(self) -> Iterator[Block]:
        """The heading first: the title placeholder, else the number."""
        titles = [_words(shape) for shape in self._shapes if _role(shape) in _TITLES]
        title = " ".join(" ".join(titles).split())
        note = " (hidden)" if self._hidden else ""
        yield Block("heading", (title or f"Slide {self._number}") + note, level=2, page=self._number)
        for shape in sorted(self._shapes, key=_place):
            if _role(shape) not in _TITLES | _FURNITURE:
                yield from self._shape(shape)
        yield from self._notes()

    def _shape(self, shape: ET.Element) -> Iterator[Block]:
        table = shape.find(f".//{A}tbl")
        if table is not None:
            yield Block("table", rows=tuple(map(_row, table.findall(f"{A}tr"))), page=self._number)
        elif shape.tag == f"{P}pic":
            described = shape.find(f"{P}nvPicPr/{P}cNvPr")
            text = described.get("descr", "") if described is not None else ""
            if text:
                yield Block("paragraph", f"Picture: {text}", page=self._number)
        elif shape.tag == f"{P}graphicFrame":
            yield from graphics(self._package, self._part, shape, self._number)
        else:
            body = shape.find(f"{P}txBody")
            yield from _paragraphs(body, self._number, _role(shape)) if body is not None else ()

    def _notes(self) -> Iterator[Block]:
        for part in self._package.related(self._part, "notesSlide").values():
            root = self._package.xml(part)
            shapes = [shape for shape in root.iter(f"{P}sp") if _role(shape) == "body"] if root is not None else []
            texts = [
                block for shape in shapes for block in _paragraphs(shape.find(f"{P}txBody"), self._number, "notes")
            ]
            if any(block.text.strip() for block in texts):
                yield Block("heading", "Notes", level=3, page=self._number)
                yield from texts


def _shapes(tree: ET.Element) -> Iterator[ET.Element]:
    """The shapes of a slide; those of a group one by one, and of two renderings of one thing the first."""
    for child in tree:
        if child.tag in (f"{P}sp", f"{P}pic", f"{P}graphicFrame", f"{P}cxnSp"):
            yield child
        elif child.tag != _FALLBACK:
            yield from _shapes(child)


def _role(shape: ET.Element) -> str:
    """The kind of its placeholder: ``title``, ``body`` and so on; empty for a free shape."""
    placeholder = shape.find(f"*/{P}nvPr/{P}ph")
    return "" if placeholder is None else placeholder.get("type", "obj")


def _place(shape: ET.Element) -> tuple[int, int]:
    """Top to bottom, then left to right; a placeholder takes its place from the layout and keeps its turn, first."""
    offset = shape.find(f".//{A}off")
    if offset is None:
        return (-1, 0)
    top, left = (int(offset.get(axis, "0") or 0) for axis in ("y", "x"))
    return (top // 300_000, left)  # a third of an inch: beside each other is one row


def _paragraphs(body: ET.Element | None, page: int, role: str) -> Iterator[Block]:
    if body is None:
        return
    shown = [(paragraph, text_of(paragraph).strip()) for paragraph in body.findall(f"{A}p")]
    several = sum(bool(text) for _, text in shown) > 1
    number = 0
    for paragraph, text in shown:
        properties = paragraph.find(f"{A}pPr")
        level = int(properties.get("lvl", "0") or 0) if properties is not None else 0
        bare = properties is not None and properties.find(f"{A}buNone") is not None
        numbered = properties is not None and properties.find(f"{A}buAutoNum") is not None
        bullet = properties is not None and properties.find(f"{A}buChar") is not None
        listed = numbered or bullet or (role in ("obj", "body") and several and not bare)
        number = number + 1 if numbered else 0
        mark = f"{number}. " if numbered else ""
        if text:
            yield Block("list_item" if listed else "paragraph", mark + text, level=level if listed else 0, page=page)


def _row(row: ET.Element) -> tuple[str, ...]:
    cells = []
    for cell in row.findall(f"{A}tc"):
        merged = cell.get("hMerge") == "1" or cell.get("vMerge") == "1"
        cells.append("" if merged else " ".join(text_of(paragraph) for paragraph in cell.iter(f"{A}p")))
    return tuple(cells)


def _words(shape: ET.Element) -> str:
    return " ".join(text_of(paragraph) for paragraph in shape.iter(f"{A}p"))
