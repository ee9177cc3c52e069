"""Word documents: the body in order, with headings by style or outline level, lists by their numbering, tables.

The XML is read directly: python-docx refuses the Strict variant and leaves out tracked insertions and content controls.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.docx_styles import Numbering, Styles, W, value
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.drawing import graphics

_SKIPPED = frozenset({f"{W}del", f"{W}moveFrom", f"{W}rPr", f"{W}pPr", f"{W}txbxContent", f"{W}instrText"})
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_PAGE_WORDS = 12  # letters: "Page 3 of 12"
_TABS = frozenset({f"{W}tab", f"{W}ptab"})
_BREAKS = frozenset({f"{W}br", f"{W}cr"})


def read(content: bytes, name: str) -> Draft:
    package = Package(content)
    main = package.main_part("word")
    root = package.xml(main)
    body = root.find(f"{W}body") if root is not None else None
    if body is None:
        raise DocumentUnreadable("the Word document has no body")
    for kind in ("footnote", "endnote"):
        _fill_in_notes(body, _related(package, main, f"{kind}s"), kind)
    styles = Styles(_related(package, main, "styles"))
    numbering = Numbering(_related(package, main, "numbering"))
    reader = _Reader(styles, numbering, lambda node: graphics(package, main, node, None))
    blocks = list(reader.blocks(body))
    running = _running(package, main)
    if running:
        blocks += [Block("heading", "Header and footer", level=2), *running]
    properties = package.core_properties()
    hidden = {"hidden_text": "left out"} if any(map(_is_hidden, body.iter(f"{W}r"))) else {}
    return Draft(blocks, reader.title, properties.pop("title"), properties | package.damage() | hidden)


def _running(package: Package, main: str) -> list[Block]:
    """What stands above and below every page, once, unless that is little more than the page's number."""
    found: dict[str, Block] = {}
    for kind in ("header", "footer"):
        for part in package.related(main, kind).values():
            root = package.xml(part)
            for paragraph in root.iter(f"{W}p") if root is not None else ():
                text = _text(paragraph).strip()
                counted = "PAGE" in "".join(paragraph.itertext()) or paragraph.find(f".//{W}fldSimple") is not None
                if sum(map(str.isalpha, text)) > (_PAGE_WORDS if counted else 1):
                    found.setdefault(text, Block("paragraph", text))
    return list(found.values())


def _fill_in_notes(body: ET.Element, notes: ET.Element | None, kind: str) -> None:
    """A note stands in brackets where its number stands."""
    texts = {}
    for note in notes.findall(f"{W}{kind}") if notes is not None else ():
        words = (_text(paragraph).strip() for paragraph in note.iter(f"{W}p"))
        texts[note.get(f"{W}id", "")] = " ".join(filter(None, words))
    for reference in list(body.iter(f"{W}{kind}Reference")):
        text = texts.get(reference.get(f"{W}id", ""))
        if text:
            reference.tag, reference.text = f"{W}t", f" ({text})"


def _related(package: Package, main: str, kind: str) -> ET.Element | None:
    return next((package.xml(part) for part in package.related(main, kind).values()), None)


class _Reader:
    def __init__(
        self, styles: Styles, numbering: Numbering, graphics_of: Callable[[ET.Element], Iterator[Block]]
    ) -> None:
        self._graphics_of = graphics_of
        self._styles = styles
        self._numbering = numbering
        self.title = ""

    def blocks(self, parent: ET.Element) -> Iterator[Block]:
        for child in parent:
            if child.tag == f"{W}p":
                yield from self._paragraph(child)
            elif child.tag == f"{W}tbl":
                yield from self._table(child)
            elif child.tag not in _SKIPPED:  # content controls, tracked insertions and the like hold paragraphs
                yield from self.blocks(child)

    def _paragraph(self, paragraph: ET.Element) -> Iterator[Block]:
        text = _text(paragraph).strip()
        if text:
            yield self._block(paragraph.find(f"{W}pPr"), text)
        for box in paragraph.iter(f"{W}txbxContent"):
            if not _in_fallback(paragraph, box):
                yield from self.blocks(box)
        for drawing in paragraph.iter(f"{W}drawing"):
            yield from self._graphics_of(drawing)

    def _block(self, properties: ET.Element | None, text: str) -> Block:
        style = self._styles.of(properties)
        if style.is_title and not self.title:
            self.title = text
            return Block("heading", text, level=1)
        if style.is_code:
            return Block("code", text)
        number_id = value(properties, f"{W}numPr/{W}numId") or style.number_id
        level = value(properties, f"{W}numPr/{W}ilvl") or style.list_level
        depth = min(int(level), 8) if level.isdecimal() else 0
        if style.heading:
            number = self._numbering.heading(number_id, depth) if number_id not in ("", "0") else ""
            return Block("heading", number + text, level=style.heading)
        if number_id and number_id != "0":
            shown = max(depth, style.bullet_level or 0)  # "List Bullet 2" is a list of its own, at its first level
            return Block("list_item", self._numbering.next(number_id, depth) + text, level=shown)
        if style.bullet_level is not None:
            return Block("list_item", text, level=style.bullet_level)
        return Block("paragraph", text)

    def _table(self, table: ET.Element) -> Iterator[Block]:
        rows = _rows(table)
        if sum(len(row) > 1 for row in rows):
            yield Block("table", rows=tuple(rows))
        else:  # one column: a box around text, or code
            for cell in table.iter(f"{W}tc"):
                yield from self.blocks(cell)


def _rows(table: ET.Element) -> list[tuple[str, ...]]:
    """A cell that reaches over several rows is repeated in each, so that every row reads by itself."""
    nested = table.find(f".//{W}tbl") is not None
    done: list[tuple[str, ...]] = []
    for row in table.findall(f"{W}tr") if nested else table.iter(f"{W}tr"):
        cells: list[str] = []
        for cell in row.findall(f"{W}tc") if nested else row.iter(f"{W}tc"):
            properties = cell.find(f"{W}tcPr")
            merge = properties.find(f"{W}vMerge") if properties is not None else None
            goes_on = merge is not None and merge.get(f"{W}val", "continue") == "continue"
            above = done[-1][len(cells)] if goes_on and done and len(cells) < len(done[-1]) else ""
            cells.append(above or " ".join(_text(paragraph) for paragraph in cell.iter(f"{W}p")))
            span = value(properties, f"{W}gridSpan")
            cells.extend([""] * (min(int(span), 64) - 1 if span.isdecimal() else 0))
        done.append(tuple(cells))
    return done


def _text(node: ET.Element) -> str:
    """The text of a paragraph as it stands after tracked changes, without its text boxes."""
    parts: list[str] = []
    for child in node:
        if child.tag in (f"{W}t", _MATH_TEXT):
            parts.append(child.text or "")
        elif child.tag in _TABS:
            parts.append("\t")
        elif child.tag in _BREAKS:
            parts.append("\n")
        elif child.tag == f"{W}noBreakHyphen":
            parts.append("-")
        elif child.tag not in _SKIPPED and child.tag != _FALLBACK and not _is_hidden(child):
            parts.append(_text(child))
    return "".join(parts)


def _is_hidden(run: ET.Element) -> bool:
    """Whether a reader of the document does not see it, as PDFs and pages of the Web hide text, too."""
    mark = run.find(f"{W}rPr/{W}vanish")
    return mark is not None and mark.get(f"{W}val", "1") not in ("0", "false", "off")


def _in_fallback(paragraph: ET.Element, box: ET.Element) -> bool:
    return any(box is inner for fallback in paragraph.iter(_FALLBACK) for inner in fallback.iter(f"{W}txbxContent"))
