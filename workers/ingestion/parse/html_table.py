"""HTML tables: which of them hold data, and their rows with spans filled in."""

from __future__ import annotations

from bs4 import Tag

_MAX_SPAN = 100
_MAX_CELLS = 200_000
_LAYOUT = ["table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "pre", "form"]

Row = tuple[str, ...]


def is_data(table: Tag) -> bool:
    """A table that lays out a page has one column, or whole pages within its cells."""
    rows = own_rows(table)
    wide = max((len(_cells(row)) for row in rows), default=0)
    if not rows or wide < 2:
        return False
    if table.find("th"):
        return table.find("table") is None
    return table.find(_LAYOUT) is None


def table_rows(table: Tag) -> tuple[Row, ...]:
    """Text by row; a cell that spans rows is repeated in each, one that spans columns leaves the others blank."""
    rows: list[Row] = []
    carried: dict[int, tuple[int, str]] = {}  # column -> rows it still reaches, its text
    total = 0
    for row in own_rows(table):
        cells = _placed(_cells(row), carried)
        total += len(cells)
        if total > _MAX_CELLS:
            break
        rows.append(cells)
    return tuple(rows)


def own_rows(table: Tag) -> list[Tag]:
    return [row for row in table.find_all("tr") if row.find_parent("table") is table]


def _cells(row: Tag) -> list[Tag]:
    return row.find_all(["td", "th"], recursive=False)


def _placed(cells: list[Tag], carried: dict[int, tuple[int, str]]) -> Row:
    placed: list[str] = []
    for cell in cells:
        _fill(placed, carried)
        text = " ".join(cell.get_text(" ").split())
        width, height = _span(cell, "colspan"), _span(cell, "rowspan")
        for offset in range(width):
            shown = text if offset == 0 or cell.name == "th" else ""
            if height > 1:
                carried[len(placed)] = (height - 1, shown)
            placed.append(shown)
    _fill(placed, carried)
    return tuple(placed)


def _fill(placed: list[str], carried: dict[int, tuple[int, str]]) -> None:
    while len(placed) in carried:
        column = len(placed)
        left, text = carried.pop(column)
        placed.append(text)
        if left > 1:
            carried[column] = (left - 1, text)


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name) or "1")
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() and len(value) < 6 else 1
