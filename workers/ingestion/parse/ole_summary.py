"""Title, author and date from the summary that Office keeps beside the text, as [MS-OLEPS] lays it out.

olefile reads it whole and believes every count in it: one flipped bit there costs minutes. Three values are wanted.
"""

from __future__ import annotations

import codecs
import datetime as dt
import struct
from collections.abc import Iterator

_CODEPAGE, _TITLE, _AUTHOR, _SAVED = 1, 2, 4, 13
_SHORT, _TEXT, _WIDE, _TIME = 0x02, 0x1E, 0x1F, 0x40
_MAX_PROPERTIES, _MAX_TEXT = 64, 1_000
_EPOCH = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)


def summary(data: bytes) -> tuple[str, dict[str, str]]:
    """Title, and ``author`` and ``updated``; each empty where the summary does not say it, or is broken there."""
    places = dict(_properties(data))
    encoding = _encoding(data, places.get(_CODEPAGE))
    title, author = (_text(data, places.get(key), encoding) for key in (_TITLE, _AUTHOR))
    return title, {"author": author, "updated": _date(data, places.get(_SAVED))}


def encoding_of(data: bytes) -> str:
    """The encoding of the summary's texts, which is that of the others where nothing else is said."""
    return _encoding(data, dict(_properties(data)).get(_CODEPAGE))


def _properties(data: bytes) -> Iterator[tuple[int, int]]:
    """(property, where its value begins) of the first section."""
    if len(data) < 48:
        return
    (start,) = struct.unpack_from("<I", data, 44)
    if start + 8 > len(data):
        return
    (count,) = struct.unpack_from("<I", data, start + 4)
    for at in range(start + 8, start + 8 + 8 * min(count, _MAX_PROPERTIES), 8):
        if at + 8 > len(data):
            return
        key, offset = struct.unpack_from("<II", data, at)
        if start + offset + 8 <= len(data):
            yield key, start + offset


def _encoding(data: bytes, at: int | None) -> str:
    kind, value = struct.unpack_from("<IH", data, at) if at is not None else (0, 0)
    name = {65001: "utf-8", 1200: "utf-16-le", 10000: "mac_roman"}.get(value, f"cp{value}")
    try:
        return codecs.lookup(name).name if kind == _SHORT else "cp1252"
    except LookupError:
        return "cp1252"


def _text(data: bytes, at: int | None, encoding: str) -> str:
    if at is None:
        return ""
    kind, length = struct.unpack_from("<II", data, at)
    raw = data[at + 8 : at + 8 + min(length, _MAX_TEXT) * (2 if kind == _WIDE else 1)]
    if kind not in (_TEXT, _WIDE):
        return ""
    decoded = raw.decode("utf-16-le" if kind == _WIDE else encoding, "replace")
    return decoded.split("\0", 1)[0].strip()


def _date(data: bytes, at: int | None) -> str:
    if at is None or at + 12 > len(data):
        return ""
    kind, ticks = struct.unpack_from("<IQ", data, at)
    try:
        saved = _EPOCH + dt.timedelta(microseconds=ticks // 10)
    except OverflowError:
        return ""
    return saved.date().isoformat() if kind == _TIME and saved.year > 1980 else ""
