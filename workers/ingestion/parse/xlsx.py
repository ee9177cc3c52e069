"""Excel workbooks: a heading and a table per sheet, the values that were last calculated."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable

from openpyxl import load_workbook

from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.pptx_chart import chart_title
from workers.ingestion.parse.sheet import tables

MAX_ROWS = 20_000  # a sheet
MAX_COLUMNS = 200
MAX_CELLS = 200_000  # a workbook


def read(content: bytes, name: str) -> Draft:
    package = Package(content)
    package.main_part("xl")
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
        budget -= sum(map(len, rows))
        truncated += [name] if cut else []
        if any(map(any, rows)):
            blocks.append(Block("heading", name, level=2, page=page))
            blocks.extend(Block("table", rows=tuple(table), page=page) for table in tables(rows))
    charts = filter(None, (chart_title(package.xml(part)) for part in package.names("xl/charts/chart")))
    blocks.extend(Block("paragraph", f"Chart: {title}") for title in charts)  # its numbers stand in the cells
    return Draft(blocks, "", properties.pop("title"), properties | note(truncated))


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
