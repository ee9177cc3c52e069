"""AsciiDoc tables: cells by their bars, rows by the number of columns."""

from __future__ import annotations

import csv
import re

from workers.ingestion.parse.asciidoc_inline import Attributes, plain

_COLUMNS = re.compile(r"cols\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\d+))")
_FORMAT = re.compile(r"format\s*=\s*\"?(csv|tsv|dsv)")
_CELL = re.compile(r"(?:(?<=\s)|^)((?:\d+(?:\.\d+)?[+*]|\.\d+\+)?[<^>]?(?:\.[<^>])?[adehlmsv]?)\|(?!=)")

Rows = tuple[tuple[str, ...], ...]


def table_rows(lines: list[str], style: str, mark: str, attributes: Attributes) -> Rows:
    separated = _FORMAT.search(style)
    if separated or mark in ",:":
        delimiter = {"csv": ",", "tsv": "\t", "dsv": ":"}[separated[1]] if separated else mark
        rows = csv.reader([line for line in lines if line], delimiter=delimiter)
        return tuple(tuple(plain(cell, attributes) for cell in row) for row in rows)
    if mark == "!":
        lines = [line.replace("!", "|") for line in lines]
    cells = [plain(cell, attributes) for cell in _cells("\n".join(lines))]
    width = _width(style) or _first_row(lines)
    return tuple(tuple(cells[start : start + width]) for start in range(0, len(cells), width)) if width else ()


def _cells(text: str) -> list[str]:
    found: list[str] = []
    marks = list(_CELL.finditer(text)) or list(re.finditer(r"(?<!\\)()\|", text))
    starts = [*(match.start() for match in marks), len(text)]
    for match, end in zip(marks, starts[1:], strict=True):
        content = " ".join(text[match.end() : end].split())
        bare = [part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", content)]  # "|a|b" without blanks
        spread = re.match(r"(\d+)([+*])", match[1])
        found.extend(bare)
        if spread:
            found.extend([bare[-1] if spread[2] == "*" else ""] * (min(int(spread[1]), 50) - 1))
    return found


def _width(style: str) -> int:
    match = _COLUMNS.search(style)
    if not match:
        return 0
    spec = match[1] or match[2] or match[3] or ""
    if spec.strip().isdigit() and "," not in spec:
        return int(spec) if match[3] else 1
    total = 0
    for column in re.split(r"[,;]", spec):
        repeated = re.match(r"\s*(\d+)\*", column)
        total += int(repeated[1]) if repeated else 1
    return min(total, 200)


def _first_row(lines: list[str]) -> int:
    """Without a specification, the first line with cells says how many columns there are."""
    line = next((line for line in lines if line.strip()), "")
    return len(_cells(line))
