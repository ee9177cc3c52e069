"""What Word and PowerPoint draw from data: charts as tables of their numbers, diagrams as lists of their words."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.pptx_chart import C, chart_table

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"


def graphics(package: Package, part: str, node: ET.Element, page: int | None) -> Iterator[Block]:
    """The charts and diagrams that ``node`` of ``part`` shows."""
    for pointer in node.iter():
        if pointer.tag == f"{C}chart":
            root = _target(package, part, "chart", pointer.get(f"{R}id", ""))
            yield from chart_table(root, page) if root is not None else ()
        elif pointer.tag == _DIAGRAM:
            root = _target(package, part, "diagramData", pointer.get(f"{R}dm", ""))
            for paragraph in root.iter(f"{A}p") if root is not None else ():
                yield Block("list_item", text_of(paragraph), page=page)


def _target(package: Package, part: str, kind: str, key: str) -> ET.Element | None:
    target = package.related(part, kind).get(key, "")
    try:
        return package.xml(target) if target else None
    except ET.ParseError:  # a broken chart must not lose the text
        return None


def text_of(paragraph: ET.Element) -> str:
    parts = []
    for node in paragraph.iter():
        if node.tag in (f"{A}t", _MATH_TEXT):
            parts.append(node.text or "")
        elif node.tag == f"{A}br":
            parts.append("\n")
        elif node.tag == f"{A}tab":
            parts.append("\t")
    return "".join(parts).replace("_x000D_", " ")
