"""Old Excel workbooks (.xls) through xlrd: a heading and a table per sheet."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import olefile
import xlrd

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.ole import opened
from workers.ingestion.parse.sheet import blocks as sheet_blocks
from workers.ingestion.parse.xlsx import MAX_CELLS, MAX_COLUMNS, MAX_ROWS, capped, note, shown


def _nothing(*_: object) -> None:
    """Takes a record and leaves it."""


# Names of areas, remarks and objects are not read, and are what xlrd most often gives up on.
xlrd.book.Book.handle_name = _nothing
xlrd.sheet.Sheet.handle_note = _nothing
xlrd.sheet.Sheet.handle_obj = _nothing


def _workbook(content: bytes) -> bytes:
    """The workbook out of its container, in which xlrd can be led in circles."""
    if not content.startswith(olefile.MAGIC):
        return content
    with opened(content) as container:
        found = container.stream("Workbook") or container.stream("Book")
    if not found:
        raise DocumentUnreadable("the file is an old binary Office file but not a workbook")
    return found


def read(content: bytes, name: str) -> Draft:
    try:
        book = xlrd.open_workbook(
            file_contents=_workbook(content), on_demand=True, ragged_rows=True, logfile=io.StringIO()
        )
    except xlrd.XLRDError as error:
        if "encrypted" in str(error).lower():
            raise DocumentUnreadable("the file is protected by a password") from error
        raise DocumentUnreadable("the file is damaged: its workbook cannot be read") from error
    blocks: list[Block] = []
    truncated: list[str] = []
    damaged: list[str] = []
    budget = MAX_CELLS
    for page, sheet_name in enumerate(book.sheet_names(), 1):
        try:
            sheet = book.sheet_by_name(sheet_name)
        except (xlrd.XLRDError, struct.error, AssertionError, ValueError, IndexError, KeyError, TypeError):
            damaged.append(sheet_name)  # xlrd gives up in many ways; the other sheets are whole
            continue
        rows, cut = capped(_rows(sheet, book.datemode), budget)
        budget -= sum(map(len, rows))
        truncated += [sheet_name] if cut else []
        if any(map(any, rows)):
            shown_name = f"{sheet_name} (hidden)" if sheet.visibility else sheet_name
            blocks.append(Block("heading", shown_name, level=2, page=page))
            blocks.extend(sheet_blocks(rows, page))
        book.unload_sheet(sheet_name)
    if damaged and not blocks:
        raise DocumentUnreadable("the file is damaged: none of its sheets can be read")
    unread = {"damaged": f"not read: {', '.join(damaged)}"} if damaged else {}
    return Draft(blocks, metadata=note(truncated) | unread)


def _rows(sheet: Any, datemode: int) -> Iterator[tuple[object, ...]]:
    for number in range(min(sheet.nrows, MAX_ROWS + 1)):
        yield tuple(_value(cell, datemode) for cell in sheet.row(number)[:MAX_COLUMNS])


def _value(cell: Any, datemode: int) -> object:
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return xlrd.xldate.xldate_as_datetime(cell.value, datemode)
        except (xlrd.XLDateError, OverflowError, ValueError):
            return shown(cell.value)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    return None if cell.ctype in (xlrd.XL_CELL_ERROR, xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) else cell.value
