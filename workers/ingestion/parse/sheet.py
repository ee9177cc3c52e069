"""The tables on one sheet: people put several beside and beneath each other, with blank cells between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from assistant.knowledge.documents import Block

Rows = list[tuple[str, ...]]
_MAX_CUTS = 40
_MAX_CAPTION = 3


def blocks(rows: Rows, page: int | None) -> Iterator[Block]:
    """Each table; a caption of one column becomes lines of text."""
    for table in tables(rows):
        if max(map(len, table)) == 1 and len(table) <= _MAX_CAPTION:
            yield from (Block("paragraph", row[0], page=page) for row in table)
        else:
            yield Block("table", rows=tuple(table), page=page)


def tables(rows: Rows, depth: int = 0) -> Iterator[Rows]:
    """Cut at blank rows where the columns in use change, and at blank columns with two or more on both sides: a blank
    row within a table, or a spacer beside a single column, does not end it."""
    bands = list(_bands(rows)) if depth < _MAX_CUTS else [rows]
    if len(bands) > 1:
        for band in bands:
            yield from tables(band, depth + 1)
        return
    sides = _sides(rows) if depth < _MAX_CUTS else None
    if sides is None:
        kept = _trimmed([row for row in rows if any(row)])
        if kept:
            yield kept
        return
    for side in sides:
        yield from tables(side, depth + 1)


def _trimmed(rows: Rows) -> Rows:
    """Without columns that are blank throughout."""
    width = max(map(len, rows), default=0)
    square = [row + ("",) * (width - len(row)) for row in rows]
    used = [column for column in range(width) if any(row[column] for row in square)]
    return [tuple(row[column] for column in used) for row in square]


def _bands(rows: Rows) -> Iterator[Rows]:
    """Runs of rows; a run after a blank row that fits within the columns of the one before goes on with it."""
    band: Rows = []
    low = high = 0
    for run in _runs(rows):
        first, last = _reach(run)
        if band and not (first == low and last <= high):
            yield band
            band, high = [], 0
        low, high = first, max(high, last)
        band.extend(run)
    if band:
        yield band


def _runs(rows: Rows) -> Iterator[Rows]:
    for filled, run in groupby(rows, key=any):
        if filled:
            yield list(run)


def _reach(rows: Rows) -> tuple[int, int]:
    """The first and the last column in use."""
    used = [column for row in rows for column, cell in enumerate(row) if cell]
    return (min(used), max(used)) if used else (0, 0)


def _goes_on(rows: Rows, column: int) -> bool:
    """Whether the rows are named on the left and only counted on the right of a blank column: one table, spaced."""
    left = [next(filter(None, row[:column]), "") for row in rows[1:]]
    right = [next(filter(None, row[column + 1 :]), "") for row in rows[1:]]
    return _words(left) > 0.5 and _words(right) <= 0.5


def _words(cells: list[str]) -> float:
    """The share of cells that hold words rather than numbers."""
    filled = [cell for cell in cells if cell]
    return sum(any(map(str.isalpha, cell)) for cell in filled) / max(len(filled), 1)


def _sides(rows: Rows) -> tuple[Rows, Rows] | None:
    width = max(map(len, rows), default=0)
    used = [any(column < len(row) and row[column] for row in rows) for column in range(width)]
    for column in range(2, width - 2):
        if used[column] or sum(used[:column]) < 2 or sum(used[column:]) < 2:
            continue
        if not _goes_on(rows, column):
            return [row[:column] for row in rows], [("",) * (column + 1) + row[column + 1 :] for row in rows]
    return None
