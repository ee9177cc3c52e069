"""What a Word style and a numbering definition say about a paragraph."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_NAME = re.compile(r"heading ?([1-9])$", re.IGNORECASE)
_BULLET = re.compile(r"list(?: (?:bullet|number))?(?: ([1-5]))?$", re.IGNORECASE)
_CODE = re.compile(r"(?:source )?code(?: block)?$|html preformatted$|plain ?text$|verbatim", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Style:
    heading: int = 0  # 1..6, 0 is none
    is_title: bool = False
    is_code: bool = False
    number_id: str = ""
    list_level: str = "0"
    bullet_level: int | None = None


def value(node: ET.Element | None, path: str) -> str:
    """The ``w:val`` of the element at ``path``, empty where there is none."""
    found = node.find(path) if node is not None else None
    return found.get(f"{W}val", "") if found is not None else ""


def heading_of(name: str) -> int:
    """The level that the name of a style gives a heading, 0 where it is none."""
    match = _NAME.match(name)
    return min(int(match[1]), 6) if match else 0


class Styles:
    """Styles by id, each with what it inherits."""

    def __init__(self, root: ET.Element | None) -> None:
        found = root.findall(f"{W}style") if root is not None else []
        self._nodes = {node.get(f"{W}styleId", ""): node for node in found}
        self._known: dict[str, Style] = {}

    def of(self, properties: ET.Element | None) -> Style:
        """The style of a paragraph; an outline level on the paragraph itself makes it a heading too."""
        style_id = value(properties, f"{W}pStyle")
        if style_id not in self._known:
            self._known[style_id] = self._resolve(style_id)
        style = self._known[style_id]
        outline = value(properties, f"{W}outlineLvl")
        return Style(heading=_heading_level(outline)) if _heading_level(outline) else style

    def _resolve(self, style_id: str) -> Style:
        chain = self._chain(style_id)
        names = [value(node, f"{W}name") or node.get(f"{W}styleId", "") for node in chain] or [style_id]
        outlines = (_heading_level(value(node, f"{W}pPr/{W}outlineLvl")) for node in chain)
        named = (int(match[1]) for match in map(_NAME.match, [*names, style_id]) if match)
        bullets = [match for match in map(_BULLET.match, names[:1]) if match]
        numbered = [node for node in chain if value(node, f"{W}pPr/{W}numPr/{W}numId")]
        return Style(
            heading=min(next(named, 0) or next((level for level in outlines if level), 0), 6),
            is_title=names[0].lower() == "title",
            is_code=bool(_CODE.match(names[0])),
            number_id=value(numbered[0], f"{W}pPr/{W}numPr/{W}numId") if numbered else "",
            list_level=(value(numbered[0], f"{W}pPr/{W}numPr/{W}ilvl") if numbered else "") or "0",
            bullet_level=int(bullets[0][1] or 1) - 1 if bullets and bullets[0][0].lower() != "list" else None,
        )

    def _chain(self, style_id: str) -> list[ET.Element]:
        chain: list[ET.Element] = []
        while style_id in self._nodes and len(chain) < 20:
            chain.append(self._nodes[style_id])
            style_id = value(chain[-1], f"{W}basedOn")
        return chain


class Numbering:
    """Counts list items as Word does, so that an ordered item can show its number."""

    def __init__(self, root: ET.Element | None) -> None:
        self._abstract: dict[str, str] = {}  # numId -> abstractNumId: lists that share one go on counting
        self._format: dict[tuple[str, str], str] = {}
        self._shape: dict[tuple[str, str], str] = {}  # "%1.%2" for the second level
        self._counts: dict[tuple[str, int], int] = {}
        self._restarted: set[str] = set()
        self._restarts: set[str] = set()
        for node in root if root is not None else ():
            self._learn(node)

    def _learn(self, node: ET.Element) -> None:
        if node.tag == f"{W}abstractNum":
            for level in node.findall(f"{W}lvl"):
                key = (node.get(f"{W}abstractNumId", ""), level.get(f"{W}ilvl", ""))
                self._format[key] = value(level, f"{W}numFmt")
                self._shape[key] = value(level, f"{W}lvlText")
        elif node.tag == f"{W}num":
            number_id = node.get(f"{W}numId", "")
            self._abstract[number_id] = value(node, f"{W}abstractNumId")
            if node.find(f"{W}lvlOverride/{W}startOverride") is not None:
                self._restarts.add(number_id)

    def next(self, number_id: str, level: int) -> str:
        """``"3. "`` for the third item of an ordered list, nothing for a bullet."""
        abstract = self._counted(number_id, level)
        return "" if abstract is None else f"{self._counts[abstract, level]}. "

    def heading(self, number_id: str, level: int) -> str:
        """``"2.1 "`` for a heading that is numbered so; nothing where letters or Roman numbers would be needed."""
        abstract = self._counted(number_id, level)
        shape = self._shape.get((abstract, str(level)), "") if abstract is not None else ""
        wanted = [int(place) - 1 for place in re.findall(r"%([1-9])", shape)]
        formats = {self._format.get((abstract or "", str(place)), "") for place in wanted}
        if abstract is None or not formats <= {"decimal"}:
            return ""
        filled = re.sub(r"%([1-9])", lambda place: str(self._counts.get((abstract, int(place[1]) - 1), 1)), shape)
        return f"{filled.rstrip()} " if filled.strip() else ""

    def _counted(self, number_id: str, level: int) -> str | None:
        """Counts one more; the definition that says how it is shown, none for a bullet."""
        abstract = self._abstract.get(number_id, "")
        if self._format.get((abstract, str(level)), "bullet") in ("bullet", "none", ""):
            return None
        if number_id in self._restarts and number_id not in self._restarted:
            self._restarted.add(number_id)
            self._counts = {key: count for key, count in self._counts.items() if key[0] != abstract}
        self._counts = {key: count for key, count in self._counts.items() if key[0] != abstract or key[1] <= level}
        self._counts[abstract, level] = self._counts.get((abstract, level), 0) + 1
        return abstract


def _heading_level(outline: str) -> int:
    return int(outline) + 1 if outline.isdecimal() and int(outline) < 6 else 0
