"""CSV and TSV: one table. The delimiter is the one that cuts the first lines most evenly."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

MAX_ROWS = 20_000
MAX_CELLS = 200_000
_FIELD_LIMIT = 1024 * 1024


def read(content: bytes, name: str) -> Draft:
    text = decode(content)
    rows, truncated = _capped(_rows(text, _delimiter(text)))
    metadata = {"truncated": f"only the first {len(rows)} rows"} if truncated else {}
    return Draft([Block("table", rows=tuple(rows))], metadata=metadata)


def _rows(text: str, delimiter: str) -> Iterator[tuple[str, ...]]:
    csv.field_size_limit(_FIELD_LIMIT)
    return (tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row))


def _capped(rows: Iterator[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], bool]:
    kept: list[tuple[str, ...]] = []
    cells = 0
    for row in rows:
        cells += len(row)
        if len(kept) >= MAX_ROWS or cells > MAX_CELLS:
            return kept, True
        kept.append(row)
    return kept, False


def _delimiter(text: str) -> str:
    sample = "\n".join(text[: 64 * 1024].split("\n")[:50])
    return max(",;\t|", key=lambda candidate: _evenness(sample, candidate))


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    """The share of rows that have the commonest number of columns, and that number."""
    try:
        widths = Counter(len(row) for row in islice(_rows(sample, delimiter), 50))
    except csv.Error:
        return 0.0, 0
    if not widths:
        return 0.0, 0
    width, count = widths.most_common(1)[0]
    return (count / widths.total() if width > 1 else 0.0), width
