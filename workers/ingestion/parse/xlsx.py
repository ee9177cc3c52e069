"""Excel workbooks: a heading and a table per sheet, the values that were last calculated."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable

from openpyxl import load_workbook

from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import Package
from workers.ingestion.parse.draft import Draft

MAX_ROWS = 20_000  # a sheet
MAX_COLUMNS = 200
MAX_CELLS = 200_000  # a workbook


def read(content: bytes) -> Draft:
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
        rows, cut = _capped(sheet.iter_rows(max_row=MAX_ROWS + 1, max_col=MAX_COLUMNS, values_only=True), budget)
        budget -= sum(map(len, rows))
        truncated += [name] if cut else []
        if rows:
            blocks.append(Block("heading", name, level=2, page=page))
            blocks.append(Block("table", rows=tuple(rows), page=page))
    return Draft(blocks, "", properties.pop("title"), properties | _note(truncated))


def _note(sheets: list[str]) -> dict[str, str]:
    return {"truncated": f"only the first rows of: {', '.join(sheets)}"} if sheets else {}


def _capped(rows: Iterable[tuple[object, ...]], budget: int) -> tuple[list[tuple[str, ...]], bool]:
    kept: list[tuple[str, ...]] = []
    for number, row in enumerate(rows):
        cells = tuple(map(_cell, row))
        while cells and not cells[-1]:
            cells = cells[:-1]
        budget -= len(cells)
        if budget < 0 or number >= MAX_ROWS:
            return kept, True
        if cells:
            kept.append(cells)
    return kept, False


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        moment = value.isoformat(sep=" ", timespec="minutes")
        return moment.removesuffix(" 00:00")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"
    return str(value).strip()
