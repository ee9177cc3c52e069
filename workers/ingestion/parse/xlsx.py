"""Excel workbooks: a heading and a table per sheet, the values that were last calculated."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterable

from openpyxl import load_workbook
from openpyxl.utils import column_index_from_string

from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.pptx_chart import chart_title
from workers.ingestion.parse.sheet import blocks as sheet_blocks

MAX_ROWS = 20_000  # a sheet
MAX_COLUMNS = 200
MAX_CELLS = 200_000  # a workbook
MAX_MERGED = 5_000  # a sheet

Area = tuple[int, int, int, int]  # first row and column, last row and column, from 0


def read(content: bytes, name: str) -> Draft:
    package = Package(content)
    merged = _merged(package)
    properties = package.core_properties()
    workbook = load_workbook(io.BytesIO(package.rebuilt()), read_only=True, data_only=True, keep_links=False)
    blocks: list[Block] = []
    truncated: list[str] = []
    budget = MAX_CELLS
    for page, name in enumerate(workbook.sheetnames, 1):
        sheet = workbook[name]
        if not hasattr(sheet, "reset_dimensions"):  # a chart sheet has no cells
            continue
        sheet.reset_dimensions()  # the declared size may be a million blank rows
        rows, cut = capped(sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=MAX_COLUMNS, values_only=True), budget)
        rows = _filled(rows, merged.get(name, []))
        budget -= sum(map(len, rows))
        truncated += [name] if cut else []
        if any(map(any, rows)):
            blocks.append(Block("heading", name, level=2, page=page))
            blocks.extend(sheet_blocks(rows, page))
    charts = filter(None, (chart_title(package.xml(part)) for part in package.names("xl/charts/chart")))
    blocks.extend(Block("paragraph", f"Chart: {title}") for title in charts)  # its numbers stand in the cells
    return Draft(blocks, "", properties.pop("title"), properties | note(truncated))


def _merged(package: Package) -> dict[str, list[Area]]:
    """Sheet name -> its merged cells, which openpyxl leaves out where it reads row by row."""
    main = package.main_part("xl")
    parts = package.related(main, "worksheet")
    root = package.xml(main)
    found: dict[str, list[Area]] = {}
    for sheet in root.iter() if root is not None else ():
        part = next((parts[value] for value in sheet.attrib.values() if value in parts), "")
        if sheet.tag.endswith("}sheet") and part:
            references = re.findall(rb"<(?:\w+:)?mergeCell\s+ref=\"([A-Z]+)(\d+):([A-Z]+)(\d+)\"", package.data(part))
            found[sheet.get("name", "")] = [_area(*map(bytes.decode, each)) for each in references[:MAX_MERGED]]
    return found


def _area(left: str, top: str, right: str, bottom: str) -> Area:
    return int(top) - 1, column_index_from_string(left) - 1, int(bottom) - 1, column_index_from_string(right) - 1


def _filled(rows: list[tuple[str, ...]], merged: list[Area]) -> list[tuple[str, ...]]:
    """A merged cell is repeated in every row that it reaches over, and in every column where it heads a few of them;
    one that spans most of the sheet is a caption."""
    width = max(map(len, rows), default=0)
    cells = [list(row) + [""] * (width - len(row)) for row in rows] if merged else []
    for top, left, bottom, right in merged:
        if top >= len(cells) or left >= width:
            continue
        text = cells[top][left]
        last = min(right, width - 1) if right - left + 1 <= 0.6 * width else left
        for row in cells[top : bottom + 1] if text else ():
            row[left : last + 1] = [text] * (last + 1 - left)
    return [tuple(row) for row in cells] if merged else rows


def note(sheets: list[str]) -> dict[str, str]:
    return {"truncated": f"only the first rows of: {', '.join(sheets)}"} if sheets else {}


def capped(rows: Iterable[tuple[object, ...]], budget: int) -> tuple[list[tuple[str, ...]], bool]:
    """Rows as text, blank ones too, within the limits; and whether there were more."""
    kept: list[tuple[str, ...]] = []
    for number, row in enumerate(rows):
        cells = tuple(map(shown, row))
        while cells and not cells[-1]:
            cells = cells[:-1]
        budget -= len(cells)
        if budget < 0 or number >= MAX_ROWS:
            return kept, True
        kept.append(cells)
    return kept, False


def shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        moment = value.isoformat(sep=" ", timespec="minutes")
        return moment.removesuffix(" 00:00")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"
    return str(value).strip()
