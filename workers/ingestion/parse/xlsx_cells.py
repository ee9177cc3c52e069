"""The cells of one sheet of an Excel workbook, row by row, as its XML has them.

Read directly: openpyxl gives up on a workbook whose styles it does not know, and needs many times the memory.
Names of elements are compared without their namespace, of which there are three.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import cast

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

from workers.ingestion.parse.archive import local

MAX_TEXT = 32_767  # characters of a cell: no Excel keeps more
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PLACE = re.compile(r"([A-Za-z]{1,3})(\d{1,7})$")

Value = str | int | float | bool | datetime | time | None


@dataclass(frozen=True, slots=True)
class Book:
    """What the sheets of a workbook share."""

    strings: Sequence[str] = ()
    formats: Sequence[str] = ()  # those of the cells' styles
    since_1904: bool = False


@dataclass(slots=True)
class _Row:
    number: int
    cells: dict[int, Value] = field(default_factory=dict)


def rows(data: bytes, book: Book, max_rows: int, max_columns: int) -> Iterator[tuple[Value, ...]]:
    """From the first row on, blank ones too. What stands beyond the limits is not read, but that there is more rows
    shows in one row more than the limit. Raises ET.ParseError where the XML is broken, after what stands before."""
    done = 0
    for row in _rows(data, book, max_columns):
        if not row.cells:
            continue
        if row.number > max_rows:
            yield from ((),) * (max_rows + 1 - done)
            return
        yield from ((),) * (row.number - 1 - done)
        yield tuple(row.cells.get(column) for column in range(max(row.cells, default=-1) + 1))
        done = max(done, row.number)


def _rows(data: bytes, book: Book, max_columns: int) -> Iterator[_Row]:
    last = inside = 0
    path: list[ET.Element] = []
    for event, node in ET.iterparse(io.BytesIO(data), ("start", "end")):  # noqa: S314 - no DTD comes past Package  # nosec B314
        is_row = local(node) == "row"
        if event == "start":
            path.append(node)
            inside += is_row
            continue
        path.pop()
        inside -= is_row
        if is_row:
            number = node.get("r", "")
            last = max(int(number), last + 1) if number.isdecimal() and len(number) < 8 else last + 1
            yield _Row(last, _cells(node, book, max_columns))
        if path and not inside:
            path[-1].remove(node)  # read, and not needed again: a sheet has a million of them


def _cells(row: ET.Element, book: Book, max_columns: int) -> dict[int, Value]:
    found: dict[int, Value] = {}
    column = -1
    for cell in row:
        place = _PLACE.match(cell.get("r", ""))
        column = column_of(place[1]) if place else column + 1
        if column >= max_columns:
            break
        value = _value(cell, book)
        if value is not None and value != "":
            found[column] = value
    return found


def column_of(letters: str) -> int:
    """``A`` is 0."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number - 1


def _value(cell: ET.Element, book: Book) -> Value:
    """The value that was last calculated; the formula where none was kept."""
    parts = {local(child): child for child in cell}
    kind = cell.get("t", "n")
    if kind == "inlineStr" or "is" in parts:
        return text_of(parts["is"]) if "is" in parts else ""
    shown = (parts["v"].text or "").strip(" \n") if "v" in parts else ""
    if not shown:
        formula = (parts["f"].text or "").strip() if "f" in parts and kind == "n" else ""
        return f"={formula}"[:MAX_TEXT] if formula else None
    if kind == "s":
        return book.strings[int(shown)] if shown.isdecimal() and int(shown) < len(book.strings) else ""
    if kind == "b":
        return shown not in ("0", "false")
    return _number(shown, cell.get("s", "0"), book) if kind == "n" else unescaped(shown)


def _number(shown: str, style: str, book: Book) -> Value:
    try:
        value = float(shown)
    except ValueError:
        return shown
    code = book.formats[int(style)] if style.isdecimal() and int(style) < len(book.formats) else ""
    try:
        if is_timedelta_format(code):
            return f"{int(value * 24)}:{round(value * 1440) % 60:02d}"
        if is_date_format(code):
            return cast(Value, from_excel(value, MAC_EPOCH if book.since_1904 else WINDOWS_EPOCH))
    except (OverflowError, ValueError):
        return shown
    return int(shown) if re.fullmatch(r"-?\d{1,15}", shown) else value


def text_of(node: ET.Element) -> str:
    """The runs of a string, without how its characters are pronounced."""
    parts = []
    for child in node:
        if local(child) == "t":
            parts.append(child.text or "")
        elif local(child) == "r":
            parts += [part.text or "" for part in child if local(part) == "t"]
    return unescaped("".join(parts))


def unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)[:MAX_TEXT]


def strings(data: bytes) -> list[str]:
    """The strings that the sheets share."""
    found: list[str] = []
    path: list[ET.Element] = []
    for event, node in ET.iterparse(io.BytesIO(data), ("start", "end")):  # noqa: S314 - no DTD comes past Package  # nosec B314
        if event == "start":
            path.append(node)
            continue
        path.pop()
        if local(node) == "si":
            found.append(text_of(node))
            if path:
                path[-1].remove(node)
    return found


def formats(root: ET.Element | None) -> tuple[str, ...]:
    """How the cell styles show numbers, in the order of the styles."""
    nodes = list(root.iter()) if root is not None else []
    codes: dict[int, str] = dict(BUILTIN_FORMATS)
    codes |= {_id(node): node.get("formatCode", "") for node in nodes if local(node) == "numFmt"}
    styles: Iterable[ET.Element] = next((node for node in nodes if local(node) == "cellXfs"), ())
    return tuple(codes.get(_id(node), "") for node in styles)


def _id(node: ET.Element) -> int:
    number = node.get("numFmtId", "0")
    return int(number) if number.isdecimal() and len(number) < 9 else 0
