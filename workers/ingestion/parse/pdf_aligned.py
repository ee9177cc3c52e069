"""Tables without lines: rows whose cells stand beneath each other, gaps between them all the way down."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.ingestion.parse.pdf_segments import Row, Segment, is_column

_MIN_ROWS = 3  # with lines; two will do for three columns and more
_MIN_LINES = 4  # of a column of prose
_MAX_CELL = 40  # characters on average: longer ones are prose beside prose
_MARK = re.compile(r"^(?:[•‣▪●◦○·∙■□➢–*\uf0b7\uf0a7-]|\(?\w{1,3}[.)]|\[\d+\]|\d{1,2}(?:\.\d+)*\.?)$")
_LEADER = re.compile(r"\.{4,}|(?:\. ){4,}")

Rows = tuple[tuple[str, ...], ...]


def runs(rows: list[Row]) -> Iterator[tuple[list[Row], Rows]]:
    """Successive rows with the table that they make, or without one."""
    pending: list[Row] = []
    at = 0
    while at < len(rows):
        end = _end(rows, at)
        beside = _prose_beside_prose(rows[at:end])
        table = _table(rows[at:end]) if end - at > 1 and not beside else ()
        if table or beside:
            if pending:
                yield pending, ()
            yield from ((column, ()) for column in beside)
            if table:
                yield rows[at:end], table
            pending, at = [], end
        else:
            pending.append(rows[at])
            at += 1
    if pending:
        yield pending, ()


def _end(rows: list[Row], start: int) -> int:
    """The row after the last that may belong to a table which begins at ``start``."""
    if len(rows[start]) < 2:
        return start
    end, at = start + 1, start + 1
    while at < len(rows) and rows[at - 1][0].y - rows[at][0].y < 4 * max(rows[at][0].size, rows[at - 1][0].size):
        if len(rows[at]) > 1:
            end = at + 1
        elif at - end >= 2 or not _wraps(rows[at - 1], rows[at]):
            break
        at += 1
    return end


def _wraps(above: Row, row: Row) -> bool:
    """A single piece close beneath a row, set alike: a cell that goes on."""
    piece = row[0]
    close = above[0].y - piece.y < 2.0 * piece.size
    styles = {segment.words[0].style.bold for segment in above}
    return close and piece.size < above[0].size + 0.6 and piece.words[0].style.bold in styles


def _prose_beside_prose(rows: list[Row]) -> list[list[Row]]:
    """The columns of a box of text within a page that has none; empty where the rows are something else."""
    columns = _columns([segment for row in rows if len(row) > 1 for segment in row])
    if len(columns) < 2:
        return []
    sides: list[list[Row]] = [[] for _ in columns]
    for row in rows:
        for segment in row:
            sides[_column_of(segment, columns)].append([segment])
    return sides if all(is_column(side, _MIN_LINES) for side in sides) else []


def _table(rows: list[Row]) -> Rows:
    several = [row for row in rows if len(row) > 1]
    columns = _columns([segment for row in several for segment in row])
    few = len(several) < _MIN_ROWS and (len(columns) < 3 or any(len(row) != len(columns) for row in several))
    if few or len(columns) < 2 or _is_no_table(several, columns):
        return ()
    found: list[list[str]] = []
    for place, row in enumerate(rows):
        cells = [""] * len(columns)
        for segment in row:
            column = _column_of(segment, columns)
            cells[column] = f"{cells[column]} {segment.text}".strip()
        wrapped = len(row) == 1 and found and rows[place - 1][0].y - row[0].y < 2.0 * row[0].size
        if wrapped and row[0].x1 <= columns[_column_of(row[0], columns)][1] + 1:
            found[-1] = [f"{above} {cell}".strip() for above, cell in zip(found[-1], cells, strict=True)]
        else:
            found.append(cells)
    return tuple(map(tuple, found))


def _columns(segments: list[Segment]) -> list[tuple[float, float]]:
    """Where cells stand: segments that overlap from left to right share a column."""
    columns: list[tuple[float, float]] = []
    for start, end in sorted((segment.x0, segment.x1) for segment in segments):
        if columns and start < columns[-1][1] + 1:
            columns[-1] = (columns[-1][0], max(columns[-1][1], end))
        else:
            columns.append((start, end))
    return columns


def _column_of(segment: Segment, columns: list[tuple[float, float]]) -> int:
    middle = (segment.x0 + min(segment.x1, segment.x0 + 40)) / 2
    return min(range(len(columns)), key=lambda at: max(columns[at][0] - middle, middle - columns[at][1], 0))


def _is_no_table(rows: list[Row], columns: list[tuple[float, float]]) -> bool:
    """Numbered lists, tables of contents, code, and lines that only happen to have gaps."""
    segments = [segment for row in rows for segment in row]
    if sum(map(len, rows)) < 0.55 * len(rows) * len(columns):
        return True
    if sum(len(segment.text) for segment in segments) > _MAX_CELL * len(segments):
        return True
    if sum(segment.words[0].style.mono for segment in segments) > 0.7 * len(segments):
        return True
    if sum(bool(_LEADER.search(segment.text)) for segment in segments) > 0.3 * len(rows):
        return True
    marks = sum(bool(_MARK.match(row[0].text)) for row in rows)
    return len(columns) == 2 and marks > 0.7 * len(rows)
