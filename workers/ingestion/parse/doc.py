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

_ENCRYPTED, _SECOND_TABLE = 0x0100, 0x0200
_FIELD = re.compile(r"\x13[^\x13\x14\x15]*(?:\x14([^\x13\x14\x15]*))?\x15")  # its instruction goes, its result stays
_BULLET = re.compile(r"^[•·▪o\uf0b7\uf0a7]\s+")
_TEXT = {"\x0b": "\n", "\x0c": "\r", "\x1e": "-", "\x1f": "", "\xa0": " "}
_DAMAGED = "the file is damaged: its text cannot be found"


def read(content: bytes, name: str) -> Draft:
    with opened(content) as container:
        word = container.stream("WordDocument")
        if len(word) < 0x1AA:
            raise DocumentUnreadable("the file is an old binary Office file but not a Word document")
        (flags,) = struct.unpack_from("<H", word, 0x0A)
        if flags & _ENCRYPTED:
            raise DocumentUnreadable("the file is protected by a password")
        table = container.stream("1Table" if flags & _SECOND_TABLE else "0Table")
        title, metadata = container.title()
    return Draft(list(_blocks(_text(word, table))), "", title, metadata)


def _text(word: bytes, table: bytes) -> str:
    """The main text: pieces of it lie about the stream, in bytes (Windows-1252) or in UTF-16."""
    start, length = struct.unpack_from("<II", word, 0x1A2)
    (main,) = struct.unpack_from("<i", word, 0x4C)
    pieces = _piece_table(table[start : start + length])
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
        if where & 0x40000000:
            begin = (where & 0x3FFFFFFF) // 2
            parts.append(word[begin : begin + size].decode("cp1252", "replace"))
        else:
            parts.append(word[where : where + 2 * size].decode("utf-16-le", "replace"))
    return "".join(parts)[:main]


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
