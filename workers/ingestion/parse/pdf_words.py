"""The words of a PDF page with their place and type, and the straight lines drawn on it, as PDFium sees them.

Coordinates are points, y upwards, turned so that most of the page's text stands upright.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

MAX_CHARACTERS = 200_000  # a page; more is a drawing made of letters
MAX_PATHS = 20_000
_MONO = ("mono", "courier", "consol", "typewriter", "cmtt", "menlo", "sourcecode", "fixed")
_BOLD = ("bold", "-medi", "cmbx", "heavy", "black", "semibold", "demi")
_INVISIBLE = 3  # rendering mode: neither filled nor stroked
_HYPHEN = {2: "-", 0xFFFE: "-", 0xAD: "-"}  # how PDFium marks a hyphen at the end of a line
_PRIVATE = range(0xE000, 0xF900)
_LEAST_GARBLED = 10  # characters
# Times the size of the type: PDFium sees a blank where letters are set a little apart. On a page that writes its blanks
# down, one that it only sees has to be wider.
_BLANK, _BLANK_BESIDE_WRITTEN = 0.07, 0.17
_WRITTEN = 0.1  # of all characters; in prose every sixth is a blank
_THIN = 3.0  # points: a rectangle this thin is a line
_SHORTEST = 6.0


_Placed = tuple[str, float, float, float]  # character, left, right, baseline


@dataclass(frozen=True, slots=True)
class Style:
    size: float = 10.0  # points, as drawn
    bold: bool = False
    mono: bool = False
    turn: int = 0  # quarter turns, anticlockwise
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    x0: float
    x1: float
    y: float  # its baseline
    style: Style


@dataclass(frozen=True, slots=True)
class Rule:
    """A straight line from (x0, y0) to (x1, y1), level or upright, x0 <= x1 and y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def level(self) -> bool:
        return self.x1 - self.x0 > self.y1 - self.y0


@dataclass(slots=True)
class PageWords:
    upright: list[Word]
    turned: list[Word]  # text that stands otherwise, such as along the margin; each in its own upright frame
    rules: list[Rule] = field(default_factory=list)
    pictured: float = 0.0  # the share of the page that images cover
    hidden: int = 0  # words that no reader sees, left out
    garbled: bool = False  # whether the letters' codes say nothing of what they look like


def page_words(page: pdfium.PdfPage) -> PageWords:
    text = page.get_textpage()
    garbled, least = _sampled(text.raw)
    if garbled:
        return PageWords([], [], garbled=True)
    words = list(_words(text.raw, least))
    pictured = _pictured(page)
    seen = [word for word in words if not word.style.hidden]
    hidden = len(words) - len(seen)
    if hidden and pictured > 0.3:  # text recognition lays its words, unseen, over the scan
        seen, hidden = words, 0
    turns = Counter[int]()
    for word in seen:
        turns[word.style.turn] += len(word.text)
    turn = turns.most_common(1)[0][0] if turns else 0
    upright = [word for word in seen if word.style.turn == turn]
    turned = [word for word in seen if word.style.turn != turn]
    rules = [_turned_rule(rule, turn) for rule in _rules(page)]
    return PageWords(upright, turned, rules, pictured, hidden)


def _words(text: Any, least: float) -> Iterator[Word]:
    """Runs of characters without a blank, in the order of the page's content. Of the blanks that PDFium only sees
    those count that are as wide as ``least``, times the size of the type."""
    styles: dict[int, Style] = {}
    current: list[_Placed] = []
    style: Style | None = None
    x, y = ctypes.c_double(), ctypes.c_double()
    box = raw.FS_RECTF()
    ended = seen = False  # whether the word ends here; whether that is only what PDFium made of the gap
    for index in range(min(raw.FPDFText_CountChars(text), MAX_CHARACTERS)):
        code = raw.FPDFText_GetUnicode(text, index)
        character = _HYPHEN.get(code) or (chr(code) if 32 < code < 0x110000 and not 0xD800 <= code < 0xE000 else " ")
        if 0xD800 <= code < 0xDC00:
            character = _pair(text, index)
        if not character.strip():
            if 0xDC00 <= code < 0xE000:
                continue  # the second half of a pair
            only_seen = code == 32 and raw.FPDFText_IsGenerated(text, index) == 1
            ended, seen = True, only_seen and (seen or not ended)
            continue
        found = _style(text, index, styles)
        raw.FPDFText_GetCharOrigin(text, index, x, y)
        raw.FPDFText_GetLooseCharBox(text, index, box)
        place = _placed(character, x.value, y.value, box, found.turn)
        if current and style:
            parted = ended and not (seen and _gap(current[-1], place) < least * found.size)
            if parted or _apart(current[-1], place, style, found):
                yield _word(current, style)
                current = []
        current.append(place)
        style, ended, seen = found, False, False
    if current and style:
        yield _word(current, style)


def _sampled(text: Any) -> tuple[bool, float]:
    """Whether the fonts do not say which letters they draw (PDFium then has control characters, or such as mean
    nothing), and how wide a blank has to be."""
    count = min(raw.FPDFText_CountChars(text), 2_000)
    codes = [raw.FPDFText_GetUnicode(text, at) for at in range(count)]
    letters = [code for code in codes if code not in (10, 13, 32)]
    unknown = sum(code < 32 or code == 0xFFFD or code in _PRIVATE for code in letters)
    written = sum(code == 32 and raw.FPDFText_IsGenerated(text, at) != 1 for at, code in enumerate(codes))
    garbled = unknown >= _LEAST_GARBLED and unknown > 0.5 * len(letters)
    return garbled, _BLANK_BESIDE_WRITTEN if written > _WRITTEN * count else _BLANK


def _pair(text: Any, index: int) -> str:
    high, low = raw.FPDFText_GetUnicode(text, index), raw.FPDFText_GetUnicode(text, index + 1)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)) if 0xDC00 <= low < 0xE000 else " "


def _placed(character: str, x: float, y: float, box: Any, turn: int) -> _Placed:
    """(character, left, right, baseline) in the frame in which it stands upright."""
    corners = [_turned(px, py, turn) for px in (box.left, box.right) for py in (box.bottom, box.top)]
    left, right = min(corner[0] for corner in corners), max(corner[0] for corner in corners)
    start, base = _turned(x, y, turn)
    return character, min(left, start) if right > left else start, max(right, start), base


def _turned(x: float, y: float, turn: int) -> tuple[float, float]:
    return ((x, y), (y, -x), (-x, -y), (-y, x))[turn]


def _turned_rule(rule: Rule, turn: int) -> Rule:
    (ax, ay), (bx, by) = _turned(rule.x0, rule.y0, turn), _turned(rule.x1, rule.y1, turn)
    return Rule(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))


def _gap(last: _Placed, new: _Placed) -> float:
    return max(new[1] - last[2], last[1] - new[2])  # right-to-left text runs the other way


def _apart(last: _Placed, new: _Placed, old: Style, style: Style) -> bool:
    if style.turn != old.turn or abs(new[3] - last[3]) > 0.6 * max(style.size, old.size):
        return True
    return _gap(last, new) > 0.3 * max(style.size, 1.0)


def _word(characters: list[_Placed], style: Style) -> Word:
    text = "".join(part[0] for part in characters)
    left, right = min(part[1] for part in characters), max(part[2] for part in characters)
    return Word(text, left, right, characters[0][3], style)


def _style(text: Any, index: int, known: dict[int, Style]) -> Style:
    """Every text object has one style; what it is made of is asked once."""
    handle = raw.FPDFText_GetTextObject(text, index)
    key = ctypes.cast(handle, ctypes.c_void_p).value or 0
    if key not in known:
        known[key] = _read_style(text, index, handle)
    return known[key]


def _read_style(text: Any, index: int, handle: Any) -> Style:
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text, index, matrix)
    size = float(raw.FPDFText_GetFontSize(text, index)) * math.hypot(matrix.c, matrix.d)
    turn = round(math.atan2(matrix.b, matrix.a) / (math.pi / 2)) % 4
    buffer = ctypes.create_string_buffer(256)
    flags = ctypes.c_int()
    raw.FPDFText_GetFontInfo(text, index, buffer, 256, flags)
    name = buffer.value.decode("utf-8", "replace").lower()
    mode = raw.FPDFTextObj_GetTextRenderMode(handle) if handle else 0
    bold = any(part in name for part in _BOLD) or mode == 2 or raw.FPDFText_GetFontWeight(text, index) >= 700
    mono = any(part in name for part in _MONO)
    return Style(round(min(max(size, 1.0), 500.0), 1), bold, mono, turn, mode == _INVISIBLE)


def _pictured(page: pdfium.PdfPage) -> float:
    width, height = page.get_size()
    covered: float = 0.0
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = picture.get_bounds()
        covered += max(right - left, 0) * max(top - bottom, 0)
    return min(covered / max(float(width * height), 1.0), 1.0)


def _rules(page: pdfium.PdfPage) -> Iterator[Rule]:
    for place, path in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=1)):
        if place >= MAX_PATHS:
            return
        left, bottom, right, top = path.get_bounds()
        if min(right - left, top - bottom) <= _THIN:
            yield from _long([_middle(left, bottom, right, top)])
        else:
            yield from _long(_segments(path))


def _middle(left: float, bottom: float, right: float, top: float) -> Rule:
    if right - left > top - bottom:
        return Rule(left, (bottom + top) / 2, right, (bottom + top) / 2)
    return Rule((left + right) / 2, bottom, (left + right) / 2, top)


def _long(rules: list[Rule]) -> Iterator[Rule]:
    return (rule for rule in rules if max(rule.x1 - rule.x0, rule.y1 - rule.y0) >= _SHORTEST)


def _segments(path: Any) -> list[Rule]:
    """The level and upright sides of a path, in the page's coordinates."""
    matrix = path.get_matrix()
    x, y = ctypes.c_float(), ctypes.c_float()
    found: list[Rule] = []
    start = last = (0.0, 0.0)
    for index in range(min(raw.FPDFPath_CountSegments(path), 500)):
        segment = raw.FPDFPath_GetPathSegment(path, index)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            found.extend(_side(last, point))
        last = point
        if raw.FPDFPathSegment_GetClose(segment):
            found.extend(_side(last, start))
            last = start
    return found


def _side(one: tuple[float, float], other: tuple[float, float]) -> Iterator[Rule]:
    if abs(one[0] - other[0]) < 1 or abs(one[1] - other[1]) < 1:
        yield Rule(min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1]))
