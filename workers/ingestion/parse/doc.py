"""Old Word documents (.doc): the text by its piece table, as Microsoft's [MS-DOC] describes it.

Paragraphs, list marks and table cells are read; styles are not, so that headings are told by their shape alone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.ole import opened

_IN_PIECES, _ENCRYPTED, _SECOND_TABLE, _WIDE = 0x0004, 0x0100, 0x0200, 0x1000
_WORD_97 = 0xC1  # the first version with a table stream
_NOTE = "\x02"  # stands for its number, where it is called and where it begins
_FIELD = re.compile(r"\x13[^\x13\x14\x15]*(?:\x14([^\x13\x14\x15]*))?\x15")  # its instruction goes, its result stays
_BULLET = re.compile(r"^[•·▪o\uf0b7\uf0a7]\s+")
_TEXT = {"\x0b": "\n", "\x0c": "\r", "\x1e": "-", "\x1f": "", "\xa0": " "}
_DAMAGED = "the file is damaged: its text cannot be found"


def read(content: bytes, name: str) -> Draft:
    with opened(content) as container:
        word = container.stream("WordDocument")
        if len(word) < 0x1AA:
            raise DocumentUnreadable("the file is an old binary Office file but not a Word document")
        version, flags = struct.unpack_from("<H6xH", word, 2)
        if flags & _ENCRYPTED:
            raise DocumentUnreadable("the file is protected by a password")
        title, metadata = container.title()
        if version < _WORD_97:
            text = _older(word, flags, container.encoding())
        else:
            table = container.stream("1Table" if flags & _SECOND_TABLE else "0Table")
            text = _pieces(word, table[slice(*_reach(word, 0x1A2))], None)
    return Draft(list(_blocks(_put_together(text, _lengths(word, version)))), "", title, metadata)


def _reach(word: bytes, at: int) -> tuple[int, int]:
    start, length = struct.unpack_from("<II", word, at)
    return start, start + length


def _lengths(word: bytes, version: int) -> tuple[int, ...]:
    """Characters of the main text, footnotes, headers, macros, remarks, endnotes and boxes, which follow each other."""
    lengths = struct.unpack_from("<7i", word, 0x34 if version < _WORD_97 else 0x4C)
    return tuple(max(length, 0) for length in lengths)


def _older(word: bytes, flags: int, encoding: str) -> str:
    """All text of a file of Word 6 or 95: in one piece, unless it was saved in haste."""
    encoding = "utf-16-le" if flags & _WIDE else encoding
    start, end = _reach(word, 0x160)
    if flags & _IN_PIECES and end > start:
        return _pieces(word, word[start:end], encoding)
    first, last = struct.unpack_from("<II", word, 0x18)
    try:
        return word[first:last].decode(encoding)
    except UnicodeDecodeError:
        return word[first:last].decode("cp1252", "replace")


def _pieces(word: bytes, clx: bytes, encoding: str | None) -> str:
    """Pieces of it lie about the stream. Without an ``encoding`` each says whether it is in Windows-1252 or UTF-16."""
    pieces = _piece_table(clx)
    count = (len(pieces) - 4) // 12
    if count < 1:
        raise DocumentUnreadable(_DAMAGED)
    bounds = struct.unpack_from(f"<{count + 1}i", pieces)
    parts: list[str] = []
    for place in range(count):
        (where,) = struct.unpack_from("<I", pieces, 4 * (count + 1) + 8 * place + 2)
        size = bounds[place + 1] - bounds[place]
        if size < 0:
            raise DocumentUnreadable(_DAMAGED)
        coding, width = encoding or "utf-16-le", 1 if encoding not in (None, "utf-16-le") else 2
        if encoding is None and where & 0x40000000:
            coding, width, where = "cp1252", 1, (where & 0x3FFFFFFF) // 2
        parts.append(word[where : where + width * size].decode(coding, "replace"))
    return "".join(parts)


def _put_together(text: str, lengths: tuple[int, ...]) -> str:
    """The main text with each note in brackets where its number stands, or after it, and with what stands in boxes."""
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    main, foot, _, _, _, end, boxes = (
        text[start : start + length] for start, length in zip(starts, lengths, strict=True)
    )
    notes = [" ".join(note.split()) for part in (foot, end) for note in part.split(_NOTE)[1:]]
    if main.count(_NOTE) == len(notes) and not (foot and end):
        left = iter(notes)
        main = re.sub(_NOTE, lambda _: f" ({next(left)})", main)
        notes = []
    return "\r".join(filter(None, [main.rstrip("\r"), *notes, boxes]))


def _piece_table(clx: bytes) -> bytes:
    """What follows the property changes, each of which says how long it is."""
    at = 0
    while at + 5 <= len(clx):
        if clx[at] == 2:
            (length,) = struct.unpack_from("<I", clx, at + 1)
            return clx[at + 5 : at + 5 + length]
        if clx[at] != 1:
            break
        at += 3 + struct.unpack_from("<H", clx, at + 1)[0]
    raise DocumentUnreadable(_DAMAGED)


def _blocks(text: str) -> Iterator[Block]:
    for _ in range(5):  # fields within fields
        text = _FIELD.sub(lambda match: match[1] or "", text)
    text = re.sub("[\x0b\x0c\x1e\x1f\xa0]", lambda match: _TEXT[match[0]], text)
    cells: list[str] = []
    for part in re.findall(r"[^\r\x07]*[\r\x07]|[^\r\x07]+$", text):
        body = part.rstrip("\r\x07").strip()
        if part.endswith("\x07"):
            cells.append(body)
            continue
        if cells and not body:
            continue
        yield from _table(cells)
        cells = []
        if body:
            listed = _BULLET.match(body)
            yield Block("list_item" if listed else "paragraph", _BULLET.sub("", body))
    yield from _table(cells)


def _table(cells: list[str]) -> Iterator[Block]:
    """A row ends with a mark of its own, which looks like an empty cell: the width is what makes all of them fit."""
    for width in range(1, min(len(cells), 64)):
        ends = cells[width :: width + 1]
        if len(cells) % (width + 1) == 0 and not any(ends):
            rows = [tuple(cells[at : at + width]) for at in range(0, len(cells), width + 1)]
            if width > 1 and len(rows) > 1:
                yield Block("table", rows=tuple(rows))
                return
            break
    yield from (Block("paragraph", cell) for cell in cells if cell)
