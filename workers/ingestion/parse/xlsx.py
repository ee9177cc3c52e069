"""Excel workbooks: a heading and a table per sheet, the values that were last calculated."""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator

from assistant.knowledge.documents import Block
from workers.ingestion.parse import xlsx_cells as cells
from workers.ingestion.parse.archive import Package, local
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.pptx_chart import chart_title
from workers.ingestion.parse.sheet import blocks as sheet_blocks

MAX_ROWS = 20_000  # a sheet
MAX_COLUMNS = 200
MAX_CELLS = 200_000  # a workbook
MAX_MERGED = 5_000  # a sheet
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"

Area = tuple[int, int, int, int]  # first row and column, last row and column, from 0


def read(content: bytes, name: str) -> Draft:
    package = Package(content)
    main = package.main_part("xl")
    book = _book(package, main)
    blocks: list[Block] = []
    truncated: list[str] = []
    damaged: list[str] = []
    budget = MAX_CELLS
    for page, (name, part, hidden) in enumerate(_sheets(package, main), 1):
        if not part:  # a chart sheet has no cells
            continue
        data = package.data(part)
        rows, cut = capped(_whole(cells.rows(data, book, MAX_ROWS, MAX_COLUMNS), name, damaged), budget)
        rows = _filled(rows, _merged(data))
        budget -= sum(map(_cost, (cell for row in rows for cell in row)))
        truncated += [name] if cut else []
        boxes = [Block("paragraph", text, page=page) for text in _boxes(package, part)]
        if any(map(any, rows)) or boxes:
            blocks.append(Block("heading", f"{name} (hidden)" if hidden else name, level=2, page=page))
            blocks.extend([*sheet_blocks(rows, page), *boxes])
    charts = filter(None, (chart_title(package.xml(part)) for part in package.names("xl/charts/chart")))
    blocks.extend(Block("paragraph", f"Chart: {title}") for title in charts)  # its numbers stand in the cells
    properties = package.core_properties()
    unread = {"damaged": f"not read to the end: {', '.join(damaged)}"} if damaged else {}
    return Draft(blocks, "", properties.pop("title"), properties | note(truncated) | unread)


def _book(package: Package, main: str) -> cells.Book:
    def related(kind: str) -> str:
        return next(iter(package.related(main, kind).values()), "")

    root = package.xml(main)
    since_1904 = any(
        local(node) == "workbookPr" and node.get("date1904", "0") in ("1", "true")
        for node in (root.iter() if root is not None else ())
    )
    try:
        formats = cells.formats(package.xml(related("styles")))
    except ET.ParseError:  # dates then show as numbers
        formats = ()
    shared = package.data(related("sharedStrings"))
    return cells.Book(cells.strings(shared) if shared else (), formats, since_1904)


def _sheets(package: Package, main: str) -> Iterator[tuple[str, str, bool]]:
    """(name, part, whether it is hidden) of each sheet; one that has no cells has no part."""
    parts = package.related(main, "worksheet")
    root = package.xml(main)
    for sheet in root.iter() if root is not None else ():
        if local(sheet) == "sheet":
            part = next((parts[value] for value in sheet.attrib.values() if value in parts), "")
            yield sheet.get("name", ""), part, sheet.get("state", "visible") != "visible"


def _whole(rows: Iterator[tuple[object, ...]], name: str, damaged: list[str]) -> Iterator[tuple[object, ...]]:
    """As many rows as can be had of a sheet whose XML is broken, which is noted."""
    try:
        yield from rows
    except ET.ParseError:
        damaged.append(name)


def _boxes(package: Package, sheet: str) -> Iterator[str]:
    """The text of the boxes and shapes that are drawn on a sheet."""
    for part in package.related(sheet, "drawing").values():
        root = package.xml(part)
        for shape in root.iter() if root is not None else ():
            if local(shape) == "txBody":
                lines = ("".join(run.text or "" for run in line.iter(f"{_A}t")) for line in shape.iter(f"{_A}p"))
                yield "\n".join(filter(None, lines))


def _merged(data: bytes) -> list[Area]:
    references = re.findall(rb"<(?:\w+:)?mergeCell\s+ref=\"([A-Z]+)(\d+):([A-Z]+)(\d+)\"", data)
    return [_area(*map(bytes.decode, each)) for each in references[:MAX_MERGED]]


def _area(left: str, top: str, right: str, bottom: str) -> Area:
    return int(top) - 1, cells.column_of(left), int(bottom) - 1, cells.column_of(right)


def _filled(rows: list[tuple[str, ...]], merged: list[Area]) -> list[tuple[str, ...]]:
    """A merged cell is repeated in every row that it reaches over, and in every column where it heads a few of them;
    one that spans most of the sheet is a caption."""
    width = max(map(len, rows), default=0)
    grid = [list(row) + [""] * (width - len(row)) for row in rows] if merged else []
    for top, left, bottom, right in merged:
        if top >= len(grid) or left >= width:
            continue
        text = grid[top][left]
        last = min(right, width - 1) if right - left + 1 <= 0.6 * width else left
        for row in grid[top : bottom + 1] if text else ():
            row[left : last + 1] = [text] * (last + 1 - left)
    return [tuple(row) for row in grid] if merged else rows


def note(sheets: list[str]) -> dict[str, str]:
    return {"truncated": f"only the first rows of: {', '.join(sheets)}"} if sheets else {}


def capped(rows: Iterable[tuple[object, ...]], budget: int) -> tuple[list[tuple[str, ...]], bool]:
    """Rows as text, blank ones too, within the limits; and whether there were more."""
    kept: list[tuple[str, ...]] = []
    for number, row in enumerate(rows):
        line = tuple(map(shown, row))
        while line and not line[-1]:
            line = line[:-1]
        budget -= sum(map(_cost, line))
        if budget < 0 or number >= MAX_ROWS:
            return kept, True
        kept.append(line)
    return kept, False


def _cost(cell: str) -> int:
    """Of a long text, more: a few bytes of a file can say the same page a hundred thousand times."""
    return 1 + len(cell) // 50


def shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        moment = value.isoformat(sep=" ", timespec="minutes")
        return moment.removesuffix(" 00:00")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"
    return str(value).strip()
