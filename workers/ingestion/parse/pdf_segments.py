"""Words by line, and lines cut where a gap is too wide for a blank."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from workers.ingestion.parse.pdf_words import Word

GAP = 0.85  # times the size of the type: a wider gap parts cells or columns

_MIN_PROSE = 15  # characters a line of a column has on average
_LONG = 28  # characters: no column of cells is so wide throughout; this side may hold several columns of prose
_FULL = 0.7  # of its column's width: lines of prose fill it, cells seldom do


@dataclass(slots=True)
class Segment:
    """Words of one line without a wide gap between them."""

    words: list[Word] = field(default_factory=list)

    @property
    def x0(self) -> float:
        return min(word.x0 for word in self.words)

    @property
    def x1(self) -> float:
        return max(word.x1 for word in self.words)

    @property
    def y(self) -> float:
        return self.words[0].y

    @property
    def size(self) -> float:
        return max(self.words, key=lambda word: len(word.text)).style.size

    @property
    def text(self) -> str:
        return " ".join(word.text for word in in_order(self.words))


Row = list[Segment]  # from left to right


def rows_of(words: list[Word]) -> list[Row]:
    """Words by baseline, from the top, cut into segments at wide gaps."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (-word.y, word.x0)):
        if rows and rows[-1][0].y - word.y < 0.4 * max(word.style.size, rows[-1][0].style.size):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [_cut(sorted(row, key=lambda word: word.x0)) for row in rows]


def _cut(words: list[Word]) -> Row:
    row = [Segment([words[0]])]
    reach = words[0].x1
    for word in words[1:]:
        if word.x0 - reach > GAP * min(word.style.size, row[-1].words[-1].style.size):
            row.append(Segment())
        row[-1].words.append(word)
        reach = max(reach, word.x1)
    return row


def in_order(words: list[Word]) -> list[Word]:
    """From left to right, or from right to left where most letters are of a script that is written so."""
    letters = [unicodedata.bidirectional(character) for word in words for character in word.text]
    strong = [kind for kind in letters if kind in ("L", "R", "AL")]
    backwards = sum(kind != "L" for kind in strong) * 2 > len(strong)
    return sorted(words, key=lambda word: -word.x1 if backwards else word.x0)


def is_column(lines: list[Row], least: int) -> bool:
    """Whether these are lines of running text, one beneath the other, and at least so many."""
    if len(lines) < least:
        return False
    reach = sorted(line[-1].x1 for line in lines)[int(0.9 * len(lines))]
    width = max(reach - min(line[0].x0 for line in lines), 1.0)
    full = sum(line[-1].x1 - line[0].x0 > _FULL * width for line in lines)
    sizes = [len(segment.text) for line in lines for segment in line]
    mean = sum(sizes) / len(sizes)
    return mean >= _LONG or (mean >= _MIN_PROSE and 2 * full >= len(lines))
