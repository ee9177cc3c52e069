"""Tables drawn with lines: the grid that the lines make, its cells filled with the words that lie in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workers.ingestion.parse.pdf_segments import rows_of
from workers.ingestion.parse.pdf_words import Rule, Word

_NEAR = 3.0  # points: lines this close are one, or meet
_MAX_LINES = 3_000
_MAX_WORDS = 80  # in a cell, on average: more is a page with frames

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    left: float
    top: float
    rows: Rows


def grids(words: list[Word], rules: list[Rule]) -> tuple[list[Table], list[Word]]:
    """The tables of a page, and the words that lie in none."""
    tables: list[Table] = []
    for group in _connected(rules[:_MAX_LINES]):
        columns = _merged([rule.x0 for rule in group if not rule.level])
        rows = _merged([rule.y0 for rule in group if rule.level])
        if len(columns) < 3 or len(rows) < 3:
            continue
        inside = [word for word in words if _within(word, columns, rows)]
        found = _filled(inside, columns, rows[::-1], group)
        cells = tuple(
            tuple(_text(found.get((row, column), [])) for column in range(len(columns) - 1))
            for row in range(len(rows) - 1)
        )
        if _is_table(cells, inside) and not _frames(list(found.values())):
            tables.append(Table(columns[0], rows[-1], cells))
            taken = set(map(id, inside))
            words = [word for word in words if id(word) not in taken]
    return tables, words


def _connected(rules: list[Rule]) -> list[list[Rule]]:
    """Lines that meet, directly or through others."""
    groups: list[tuple[list[float], list[Rule]]] = []  # bounds, lines
    for rule in rules:
        bounds = [rule.x0 - _NEAR, rule.y0 - _NEAR, rule.x1 + _NEAR, rule.y1 + _NEAR]
        joined = [group for group in groups if _overlap(group[0], bounds)]
        lines = [rule]
        for group in joined:
            lines += group[1]
            bounds = [*map(min, bounds[:2], group[0][:2]), *map(max, bounds[2:], group[0][2:])]
        groups = [group for group in groups if group not in joined]
        groups.append((bounds, lines))
    return [lines for _, lines in groups]


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _merged(values: Iterable[float]) -> list[float]:
    """Ascending, with those that are nearly the same as one."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _NEAR:
            found.append(value)
    return found


def _within(word: Word, columns: list[float], rows: list[float]) -> bool:
    middle = (word.x0 + word.x1) / 2
    return columns[0] - 1 < middle < columns[-1] + 1 and rows[0] - 1 < word.y + 0.3 * word.style.size < rows[-1] + 1


def _frames(cells: list[list[Word]]) -> bool:
    """Whether much of the text lies in cells with columns of their own: a form, framed as a whole."""
    framed = 0
    for words in cells:
        lines = rows_of(words)
        if len(lines) > 3 and sum(len(line) > 1 for line in lines) * 2 >= len(lines):
            framed += len(words)
    return framed > 0.3 * sum(map(len, cells))


def _filled(
    words: list[Word], columns: list[float], rows: list[float], rules: list[Rule]
) -> dict[tuple[int, int], list[Word]]:
    """``rows`` from the top. A cell that spans others holds the words of all of them."""
    owner = _owners(columns, rows, rules)
    cells: dict[tuple[int, int], list[Word]] = {}
    for word in words:
        middle, height = (word.x0 + word.x1) / 2, word.y + 0.3 * word.style.size
        column = max(sum(edge <= middle for edge in columns) - 1, 0)
        row = max(sum(edge >= height for edge in rows) - 1, 0)
        place = owner.get((row, column))
        if place:
            cells.setdefault(place, []).append(word)
    return cells


def _owners(columns: list[float], rows: list[float], rules: list[Rule]) -> dict[tuple[int, int], tuple[int, int]]:
    """Grid place -> the place whose cell it is part of: itself, or the one to the left or above without a line
    between them."""
    level = [rule for rule in rules if rule.level]
    upright = [rule for rule in rules if not rule.level]
    owner: dict[tuple[int, int], tuple[int, int]] = {}
    for row in range(len(rows) - 1):
        height = (rows[row] + rows[row + 1]) / 2
        for column in range(len(columns) - 1):
            middle = (columns[column] + columns[column + 1]) / 2
            left = any(abs(r.x0 - columns[column]) <= _NEAR and r.y0 <= height <= r.y1 for r in upright)
            above = any(abs(r.y0 - rows[row]) <= _NEAR and r.x0 <= middle <= r.x1 for r in level)
            place = (row, column)
            if column and not left:
                place = owner[row, column - 1]
            elif row and not above:
                place = owner[row - 1, column]
            owner[row, column] = place
    return owner


def _text(words: list[Word]) -> str:
    ordered = sorted(words, key=lambda word: (-round(word.y / max(0.5 * word.style.size, 1)), word.x0))
    return " ".join(word.text for word in ordered)


def _is_table(cells: Rows, words: list[Word]) -> bool:
    filled = sum(bool(cell) for row in cells for cell in row)
    wide = max((sum(map(bool, row)) for row in cells), default=0)
    tall = sum(any(row) for row in cells)
    return wide > 1 and tall > 1 and filled > 3 and len(words) < _MAX_WORDS * filled
