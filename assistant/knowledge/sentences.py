"""A chunk's text cut back into units that can be quoted as an answer: sentences, list items, table rows, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["sentence", "list_item", "code", "table_row", "heading"]

_ABBREVIATIONS = frozenset(
    "e.g i.e etc cf vs al approx dept est inc ltd co corp dr mr mrs ms prof sr jr vol sec eq ed eds ext tel viz resp "
    "incl excl a.m p.m u.s u.k u.n jan feb apr jun jul aug sep sept oct nov dec z.b d.h usw bzw ca".split()
)
# Words as well as abbreviations: "no." ends a sentence unless a number follows.
_BEFORE_NUMBERS = frozenset("no nos p pp ch fig figs st nr min max mar".split())
# Each run of marks is looked at once, from its beginning: a file of nothing but full stops must not take days.
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+(?=\s)|[。！？][”』」）]*|\n+")
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]+$")
_ITEM = re.compile(r"( *)(?:[-*•] |(\d{1,9}[.)] ))")
_FENCE = re.compile(r" *```")
_TABLE_RULE = re.compile(r" *\|(?: *:?-+:? *\|)+ *$")
_HEADING_END = re.compile(r"[.!?:;,…。！？]$")
_MAX_HEADING_WORDS = 14


@dataclass(frozen=True, slots=True)
class Unit:
    """``text`` reads on its own; ``source[start:end]`` is where it stands in the chunk."""

    text: str
    kind: UnitKind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def split_units(text: str) -> list[Unit]:
    """The units of a chunk's text, in order; together they cover all of it but blank lines and marks."""
    lines = _lines(text)
    units: list[Unit] = []
    position = 0
    while position < len(lines):
        found, position = _block(text, lines, position)
        units.extend(found)
    return units


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """The start and end of each sentence, blanks around it left out. A line break ends a sentence."""
    code = [match.span() for match in _CODE_SPAN.finditer(text)]
    start = span = 0
    for match in _END.finditer(text):
        while span < len(code) and code[span][1] <= match.start():
            span += 1
        if span < len(code) and code[span][0] <= match.start():
            continue
        if _ends_sentence(text, start, match):
            yield from _trimmed(text, start, match.end())
            start = match.end()
    yield from _trimmed(text, start, len(text))


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    mark, after = match.group(), text[match.end() : match.end() + 8].lstrip()
    if mark[0] in "\n。！？":
        return True
    if after[:1].islower():
        return False
    if mark != ".":
        return True
    word = _LAST_WORD.search(text, max(start, match.start() - 24), match.start())
    last = word.group().lower() if word else ""
    if last in _BEFORE_NUMBERS:
        return not after[:1].isdigit()
    initial = len(last) == 1 and last.isalpha() and last != "i"
    numeral = last.isdigit() and text[start : match.start()].strip() == last  # "2. Deploy" opens a step
    return not (last in _ABBREVIATIONS or initial or numeral)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    right = start + len(piece.rstrip())
    if left < right:
        yield left, right


def _lines(text: str) -> list[_Line]:
    lines, start = [], 0
    for line in text.split("\n"):
        lines.append(_Line(line, start))
        start += len(line) + 1
    return lines


def _block(text: str, lines: list[_Line], position: int) -> tuple[list[Unit], int]:
    """The units of the block that begins at ``position``, and the line after it."""
    line = lines[position]
    if not line.text.strip():
        return [], position + 1
    if _FENCE.match(line.text):
        return _code(lines, position)
    if position + 1 < len(lines) and line.text.lstrip().startswith("|") and _TABLE_RULE.match(lines[position + 1].text):
        return _table(lines, position)
    if _ITEM.match(line.text):
        return _item(lines, position)
    return _prose(text, lines, position)


def _code(lines: list[_Line], position: int) -> tuple[list[Unit], int]:
    last = position + 1
    while last < len(lines) and not _FENCE.match(lines[last].text):
        last += 1
    inner = "\n".join(line.text for line in lines[position + 1 : last])
    end = lines[min(last, len(lines) - 1)].end
    units = [Unit(inner, "code", lines[position].start, end)] if inner.strip() else []
    return units, last + 1


def _table(lines: list[_Line], position: int) -> tuple[list[Unit], int]:
    header = _cells(lines[position].text)
    units: list[Unit] = []
    row = position + 2
    while row < len(lines) and lines[row].text.lstrip().startswith("|"):
        cells = _cells(lines[row].text)
        units.append(Unit(record(header, cells), "table_row", lines[row].start, lines[row].end))
        row += 1
    if not units:
        named = "; ".join(filter(None, header))
        units = [Unit(named, "table_row", lines[position].start, lines[position].end)]
    return units, row


def record(header: list[str] | tuple[str, ...], cells: list[str] | tuple[str, ...]) -> str:
    """A row as words: ``Service: search; Owner: platform``."""
    names = [*header, *[""] * (len(cells) - len(header))]
    pairs = zip(names, cells, strict=False)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _item(lines: list[_Line], position: int) -> tuple[list[Unit], int]:
    """One item with the lines that go on with it; a number stays, since it tells the step."""
    mark = _ITEM.match(lines[position].text)
    last = position + 1
    while last < len(lines) and _goes_on(lines[last].text):
        last += 1
    words = [lines[position].text[mark.end() if mark else 0 :], *(line.text for line in lines[position + 1 : last])]
    number = (mark[2] or "") if mark else ""
    start = lines[position].start + (len(mark[1]) if mark else 0)
    end = lines[last - 1].start + len(lines[last - 1].text.rstrip())
    return [Unit(number + " ".join(word.strip() for word in words), "list_item", start, end)], last


def _goes_on(line: str) -> bool:
    return bool(line.strip()) and line.startswith("  ") and not _ITEM.match(line) and not _FENCE.match(line)


def _prose(text: str, lines: list[_Line], position: int) -> tuple[list[Unit], int]:
    last = position + 1
    while last < len(lines) and lines[last].text.strip() and not _starts_block(lines[last].text):
        last += 1
    start, end = lines[position].start, lines[last - 1].end
    alone = last == position + 1 and last < len(lines) and not lines[last].text.strip()
    if alone and _is_heading(lines[position].text):
        return [Unit(lines[position].text.strip().lstrip("# "), "heading", start, end)], last
    spans = sentence_spans(text[start:end])
    return [Unit(text[start + a : start + b], "sentence", start + a, start + b) for a, b in spans], last


def _starts_block(line: str) -> bool:
    return bool(_ITEM.match(line) or _FENCE.match(line) or line.lstrip().startswith("| "))


def _is_heading(line: str) -> bool:
    """A short line that stands alone and does not close like a sentence: how a merged section's name is shown."""
    return not _HEADING_END.search(line.strip()) and len(line.split()) <= _MAX_HEADING_WORDS
