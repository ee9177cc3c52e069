"""Cuts a long Markdown text where it hurts least: between paragraphs, then table rows, lines of code, words.

Nothing is lost: a code block that is cut is closed and opened again, a table's header is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Size = Callable[[str], int]

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})(.*)$")
_DELIMITER_ROW = re.compile(r"^\s*\|?[\s:|-]*-[\s:|-]*$")


@dataclass(frozen=True, slots=True)
class _Segment:
    """Lines that belong together. Those of a fence or table that is cut stand between ``head`` and ``tail``."""

    lines: Sequence[str]
    head: Sequence[str] = ()
    tail: Sequence[str] = ()

    @property
    def whole(self) -> list[str]:
        return [*self.head, *self.lines, *self.tail]


def split(text: str, limit: int, size: Size = len) -> list[str]:
    """The pieces of ``text`` in order, each of at most ``limit`` by ``size``."""
    pieces: list[list[str]] = []
    current: list[str] = []
    room = limit
    for segment in _segments(text.split("\n")):
        for lines in _fitting(segment, limit, size):
            cost = _cost(lines, size)
            if current and cost > room:
                pieces.append(current)
                current, room = [], limit
            current.extend(lines)
            room -= cost
    pieces.append(current)
    joined = ("\n".join(lines).strip("\n") for lines in pieces)
    return [piece for piece in joined if piece.strip()]


def _segments(lines: Sequence[str]) -> Iterator[_Segment]:
    position = 0
    while position < len(lines):
        end, segment = _code(lines, position) or _table(lines, position) or _paragraph(lines, position)
        yield segment
        position = end


def _code(lines: Sequence[str], start: int) -> tuple[int, _Segment] | None:
    opening = _FENCE.match(lines[start])
    if opening is None or (opening[1][0] == "`" and "`" in opening[2]):
        return None
    closing = re.compile(rf"^\s*{re.escape(opening[1][0])}{{{len(opening[1])},}}\s*$")
    end = next((n for n in range(start + 1, len(lines)) if closing.match(lines[n])), None)
    if end is None:  # never closed; a later message would not know
        return len(lines), _Segment(lines[start + 1 :], [lines[start]], [opening[1]])
    return end + 1, _Segment(lines[start + 1 : end], [lines[start]], [lines[end]])


def _table(lines: Sequence[str], start: int) -> tuple[int, _Segment] | None:
    if start + 1 >= len(lines) or "|" not in lines[start] or not _DELIMITER_ROW.match(lines[start + 1]):
        return None
    end = start + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end, _Segment(lines[start + 2 : end], lines[start : start + 2])


def _paragraph(lines: Sequence[str], start: int) -> tuple[int, _Segment]:
    """Up to and with the next empty lines, or up to a fence."""
    end = start + 1
    while end < len(lines) and (lines[end - 1].strip() or not lines[end].strip()) and not _FENCE.match(lines[end]):
        if _table(lines, end):
            break
        end += 1
    return end, _Segment(lines[start:end])


def _fitting(segment: _Segment, limit: int, size: Size) -> Iterator[list[str]]:
    """The segment's lines as they are, or in groups that fit."""
    if _cost(segment.whole, size) <= limit:
        yield segment.whole
        return
    frame = _cost([*segment.head, *segment.tail], size)
    if frame > limit // 2:  # a header this long is text
        segment, frame = _Segment(segment.whole), 0
    group: list[str] = []
    room = limit - frame
    lines = [part for line in segment.lines for part in _cut(line, room - 1, size)]
    for line in lines:
        cost = size(line) + 1
        if group and cost > room:
            yield [*segment.head, *group, *segment.tail]
            group, room = [], limit - frame
        group.append(line)
        room -= cost
    yield [*segment.head, *group, *segment.tail]


def _cut(line: str, limit: int, size: Size) -> Iterator[str]:
    """The line, or pieces of it that fit, cut after a space where there is one."""
    while size(line) > limit:
        end = min(limit, len(line))
        while size(line[:end]) > limit:
            end = max(1, min(end - 1, end * limit // size(line[:end])))
        space = line.rfind(" ", end // 2, end)
        end = space + 1 if space > 0 else end
        yield line[:end]
        line = line[end:]
    yield line


def _cost(lines: Sequence[str], size: Size) -> int:
    """Each line with its line break."""
    return sum(size(line) + 1 for line in lines)
