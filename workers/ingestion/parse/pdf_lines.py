"""From words to lines in reading order: columns one after the other, tables as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from workers.ingestion.parse.pdf_aligned import runs
from workers.ingestion.parse.pdf_grid import Table, grids
from workers.ingestion.parse.pdf_segments import Row, in_order, is_column, rows_of
from workers.ingestion.parse.pdf_words import PageWords

_MIN_SIDE = 6  # lines a column must have
_GUTTER = 6.0  # points


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    x: float
    y: float  # from the bottom of the page
    size: float  # points, as drawn
    bold: bool = False
    mono: bool = False
    upright: bool = True
    rows: tuple[tuple[str, ...], ...] = ()  # a table, which stands in the place of a line


def page_lines(page: PageWords) -> list[Line]:
    tables, rest = grids(page.upright, page.rules)
    lines = [line for row in _ordered(rows_of(rest), 0) for line in row]
    lines = _placed(lines, tables)
    return [*lines, *(_line([segment], upright=False) for row in rows_of(page.turned) for segment in row)]


def _placed(lines: list[Line], tables: list[Table]) -> list[Line]:
    """Each ruled table before the first line that stands beneath it and in its columns."""
    for table in sorted(tables, key=lambda table: -table.top):
        shown = Line("", table.left, table.top, 0.0, rows=table.rows)
        below = (
            place
            for place, line in enumerate(lines)
            if not line.rows and line.y < table.top and line.x >= table.left - 40
        )
        lines.insert(next(below, len(lines)), shown)
    return lines


def _ordered(rows: list[Row], depth: int) -> Iterator[list[Line]]:
    """Lines in reading order: what spans the columns, then the columns between two such lines from left to right."""
    gutter = _gutter(rows) if depth < 4 else None
    if gutter is None:
        yield _flowed(rows)
        return
    band: list[Row] = []
    spanning: list[Row] = []
    for row in rows:
        if any(segment.x0 < gutter - 2 and segment.x1 > gutter + 2 for segment in row):
            yield from _columns(band, gutter, depth)
            band = []
            spanning.append(row)
        else:
            if spanning:
                yield from _ordered(spanning, depth + 1)
                spanning = []
            band.append(row)
    yield from _ordered(spanning, depth + 1) if spanning else ()
    yield from _columns(band, gutter, depth)


def _columns(band: list[Row], gutter: float, depth: int) -> Iterator[list[Line]]:
    for side in (
        [[segment for segment in row if segment.x1 <= gutter + 2] for row in band],
        [[segment for segment in row if segment.x1 > gutter + 2] for row in band],
    ):
        rows = [row for row in side if row]
        if rows:
            yield from _ordered(rows, depth + 1)


def _gutter(rows: list[Row]) -> float | None:
    """Where a strip runs down between two columns of prose, crossed by few lines."""
    segments = [segment for row in rows for segment in row]
    if len(segments) < 2 * _MIN_SIDE:
        return None
    left, right = min(segment.x0 for segment in segments), max(segment.x1 for segment in segments)
    width = right - left
    crossed = [0] * (int(width) + 2)
    for segment in segments:
        for place in range(int(segment.x0 - left), min(int(segment.x1 - left) + 1, len(crossed))):
            crossed[place] += 1
    inner = range(int(0.15 * width), int(0.85 * width))
    least = min((crossed[place] for place in inner), default=len(segments))
    if least > 0.2 * len(segments):
        return None
    free = [place for place in inner if crossed[place] <= least + 0.03 * len(segments)]
    strips = sorted(_strips(free), key=lambda strip: -strip[1])
    middles = (left + start + length / 2 for start, length in strips if length >= _GUTTER)
    return next((gutter for gutter in middles if _is_prose(rows, gutter)), None)


def _strips(places: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring places, as (first, length)."""
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        found = [place for _, place in run]
        yield found[0], len(found)


def _is_prose(rows: list[Row], gutter: float) -> bool:
    """Both sides hold lines of text that fill their width: cells of a table are shorter, or few."""
    left = [part for row in rows if (part := [segment for segment in row if segment.x1 <= gutter + 2])]
    right = [part for row in rows if (part := [segment for segment in row if segment.x0 >= gutter - 2])]
    return is_column(left, _MIN_SIDE) and is_column(right, _MIN_SIDE)


def _flowed(rows: list[Row]) -> list[Line]:
    """The lines of one column; rows whose cells stand beneath each other become a table."""
    lines: list[Line] = []
    for run, table in runs(rows):
        if table:
            first = run[0][0]
            lines.append(Line("", first.x0, first.y, 0.0, rows=table))
        else:
            lines.extend(_line(row) for row in run)
    return lines


def _line(row: Row, upright: bool = True) -> Line:
    words = [word for segment in row for word in segment.words]
    longest = max(words, key=lambda word: len(word.text))
    text = " ".join(word.text for word in in_order(words))
    mono = sum(len(word.text) for word in words if word.style.mono) * 2 > sum(len(word.text) for word in words)
    bold = all(word.style.bold for word in words)
    return Line(text, min(word.x0 for word in words), words[0].y, longest.style.size, bold, mono, upright)
