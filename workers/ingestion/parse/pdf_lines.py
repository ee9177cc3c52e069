"""The lines of a PDF page with their place and type, from the pieces that pypdf reports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pypdf import PageObject

_MONO = ("mono", "courier", "consol", "typewriter", "cmtt", "menlo", "sourcecode")


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    x: float
    y: float  # from the bottom of the page
    size: float  # points, as drawn
    bold: bool = False
    mono: bool = False
    upright: bool = True


def page_lines(page: PageObject) -> list[Line]:
    pieces: list[Line] = []

    def visit(text: str, cm: list[float], tm: list[float], font: dict[str, Any] | None, size: float) -> None:
        if text:
            pieces.append(_piece(text, cm, tm, font, size))

    page.extract_text(visitor_text=visit)
    if sum(len(piece.text) for piece in pieces if piece.upright) * 2 > sum(len(piece.text) for piece in pieces):
        pieces = [piece for piece in pieces if piece.upright]  # a stamp along the margin
    return list(_same_row(_lines(pieces)))


def _piece(text: str, cm: list[float], tm: list[float], font: dict[str, Any] | None, size: float) -> Line:
    x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
    y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
    scale = math.hypot(tm[2], tm[3]) * math.hypot(cm[2], cm[3])
    name = str((font or {}).get("/BaseFont", "")).lower()
    bold = "bold" in name or "-medi" in name or "cmbx" in name or "heavy" in name or "black" in name
    mono = any(part in name for part in _MONO)
    upright = abs(tm[0] * cm[0]) >= abs(tm[1] * cm[0]) or not text.strip()
    return Line(text, x, y, round(abs(size * scale), 1), bold, mono, upright)


def _lines(pieces: list[Line]) -> Iterator[Line]:
    pending: list[Line] = []
    for piece in pieces:
        first, *others = piece.text.split("\n")
        pending.append(_with(piece, first))
        for part in others:
            yield from _joined(pending)
            pending = [_with(piece, part)]
    yield from _joined(pending)


def _joined(pieces: list[Line]) -> Iterator[Line]:
    """One line; its place is that of its first piece, its type that of its longest."""
    shown = [piece for piece in pieces if piece.text.strip()]
    if shown:
        longest = max(shown, key=lambda piece: len(piece.text.strip()))
        text = "".join(piece.text for piece in pieces).rstrip()
        bold = all(piece.bold for piece in shown)
        yield Line(text, shown[0].x, shown[0].y, longest.size, bold, longest.mono)


def _same_row(lines: Iterator[Line]) -> Iterator[Line]:
    """Cells that stand side by side, which come as lines of their own, become one line again."""
    last: Line | None = None
    for line in lines:
        if last and abs(last.y - line.y) < 0.2 * last.size and line.x > last.x and line.size == last.size:
            last = _with(last, f"{last.text} {line.text.strip()}")
            continue
        if last:
            yield last
        last = line
    if last:
        yield last


def _with(line: Line, text: str) -> Line:
    return Line(text, line.x, line.y, line.size, line.bold, line.mono)
