"""Rich Text as a stream of words and marks: groups, control words and bytes, each in the encoding of its font."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([\r\n\0]+)|([^\\{}\r\n\0]+)|\\"
)
# Character sets of Windows' fonts, and the encodings of Windows that they are written in.
_CHARSETS = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "cp950", 161: "cp1253", 162: "cp1254",
    163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
_WHOLE_FILE = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
_CHARACTERS = {
    "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
    "emspace": " ", "enspace": " ", "qmspace": " ", "zwj": "", "zwnj": "", "ltrmark": "", "rtlmark": "",
}  # fmt: skip
_SYMBOLS = {b"~": " ", b"_": "-", b"-": "", b"\\": "\\", b"{": "{", b"}": "}"}
MAX_DEPTH = 10_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A control word with its number (1 where it has none), or ``{`` or ``}``."""

    word: str
    number: int = 1


_WORDS = {b"*": Mark("*"), b"\n": Mark("par"), b"\r": Mark("par")}


@dataclass(slots=True)
class _Group:
    encoding: str
    skipped: int = 1  # characters after a Unicode one that old programs would show instead


@dataclass(slots=True)
class _State:
    groups: list[_Group]
    default: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    defining: int = -1  # the font whose entry in the table of fonts is being read
    high: int = 0  # the first half of a character that takes two
    swallow: int = 0  # characters that are still to be left out
    pending: bytearray = field(default_factory=bytearray)  # bytes whose characters may take two of them


def tokens(content: bytes) -> Iterator[str | Mark]:
    """Text in pieces and the marks between them, group by group. Never raises."""
    state = _State([_Group("cp1252")])
    at = 0
    while match := _TOKEN.match(content, at):
        at = match.end()
        word, number, code, symbol, brace, blank, plain = match.groups()
        if blank is not None:
            continue
        if code is not None or plain is not None:
            _take(bytes([int(code, 16)]) if code is not None else plain, state)
            continue
        if state.swallow and symbol is not None:
            state.swallow -= 1
            continue
        if state.pending:
            yield _taken(state)
        if brace is not None:
            yield from _brace(brace, state)
        elif symbol is not None:
            yield _WORDS[symbol] if symbol in _WORDS else _SYMBOLS.get(symbol, "")
        elif word == b"bin":
            at += max(int(number or 0), 0)
        elif word is not None:
            yield _command(word.decode(), number, state)
    if state.pending:
        yield _taken(state)


def _take(raw: bytes, state: _State) -> None:
    """Keeps bytes until the next mark, but for those that repeat a Unicode character for old programs."""
    cut = min(state.swallow, len(raw))
    state.swallow -= cut
    state.pending += raw[cut:]


def _taken(state: _State) -> str:
    text = state.pending.decode(state.groups[-1].encoding, "replace")
    state.pending.clear()
    return text


def _command(name: str, number: bytes | None, state: _State) -> str | Mark:
    value = int(number) if number is not None else 1
    if name == "u":
        state.swallow = state.groups[-1].skipped
        return _character(value, state)
    _note(name, value, number is not None, state)
    return _CHARACTERS[name] if name in _CHARACTERS else Mark(name, value)


def _brace(brace: bytes, state: _State) -> Iterator[Mark]:
    state.swallow = 0
    if brace == b"{" and len(state.groups) < MAX_DEPTH:
        state.groups.append(replace(state.groups[-1]))
        yield Mark("{")
    elif brace == b"}" and len(state.groups) > 1:
        state.groups.pop()
        yield Mark("}")


def _character(value: int, state: _State) -> str:
    code = value % 0x10000
    if 0xD800 <= code < 0xDC00:
        state.high = code
        return ""
    if 0xDC00 <= code < 0xE000:
        high, state.high = state.high, 0
        return chr(0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)) if high else ""
    return chr(code - 0xF000) if 0xF020 <= code < 0xF07F else chr(code)  # the letters of fonts of symbols


def _note(name: str, value: int, numbered: bool, state: _State) -> None:
    """What the word says of encodings."""
    group = state.groups[-1]
    if name in _WHOLE_FILE or (name == "ansicpg" and value):
        state.default = group.encoding = _WHOLE_FILE.get(name) or _page(value, state.default)
    elif name == "f" and numbered:
        state.defining = value
        group.encoding = state.fonts.get(value, state.default)
    elif name in ("fcharset", "cpg"):
        known = _CHARSETS.get(value) if name == "fcharset" else _page(value, "")
        if known:
            state.fonts[state.defining] = group.encoding = known
    elif name == "plain":
        group.encoding = state.default
    elif name == "uc":
        group.skipped = min(max(value, 0), 8)


def _page(value: int, otherwise: str) -> str:
    try:
        return codecs.lookup("utf-8" if value == 65001 else f"cp{value}").name
    except LookupError:
        return otherwise
