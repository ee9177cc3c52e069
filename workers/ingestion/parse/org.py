"""Org mode: headlines, lists, tables and source blocks; drawers and planning lines are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft, slug

_HEADLINE = re.compile(r"^(\*+)\s+(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED)\s+)?(?:\[#\w\]\s+)?(.*?)(?:\s+:[\w@#%:]+:)?$")
_KEYWORD = re.compile(r"^#\+(\w+):\s*(.*)$")
_BEGIN = re.compile(r"^\s*#\+begin_(\w+)", re.IGNORECASE)
_ITEM = re.compile(r"^(\s*)(?:[-+]|(\d+[.)])|\*(?<=\s\*))\s+(?:\[[ X-]\]\s+)?(\S.*)$")
_DROPPED = re.compile(r"^\s*(?:#(?:\s|$)|CLOSED:|SCHEDULED:|DEADLINE:|CLOCK:)")
_LINK = re.compile(r"\[\[([^\]]+)\](?:\[([^\]]+)\])?\]")
_CODE = re.compile(r"(?<![\w])[~=](\S|\S[^\n]*?\S)[~=](?!\w)")
_MARKS = re.compile(r"(?<![\w*/_+])([*/_+])(\S|\S[^\n]*?\S)\1(?![\w*/_+])")
_VERBATIM = frozenset({"src", "example", "export"})


def read(content: bytes, name: str) -> Draft:
    reader = _Reader(decode(content).split("\n"))
    blocks = list(reader.blocks())
    known = reader.keywords
    return Draft(
        blocks, known.get("title", ""), "", {"author": known.get("author", ""), "updated": known.get("date", "")}
    )


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = iter(lines)
        self._pending: list[str] = []
        self._rows: list[tuple[str, ...]] = []
        self._item: tuple[int, str] | None = None  # depth and number of the list item that is open
        self._indents: list[int] = []
        self._anchors: dict[str, int] = {}
        self.keywords: dict[str, str] = {}

    def blocks(self) -> Iterator[Block]:
        for line in self._lines:
            begin = _BEGIN.match(line)
            if begin:
                yield from self._flush()
                yield from self._until_end(begin[1].lower())
            else:
                yield from self._line(line)
        yield from self._flush()

    def _line(self, line: str) -> Iterator[Block]:
        stripped = line.strip()
        if headline := _HEADLINE.match(line):
            yield from self._flush()
            self._indents = []
            text = _plain(headline[2])
            yield Block("heading", text, level=min(len(headline[1]), 6), anchor=slug(text, self._anchors))
        elif keyword := _KEYWORD.match(stripped):
            self.keywords.setdefault(keyword[1].lower(), keyword[2])
        elif re.match(r"^:[\w-]+:$", stripped):
            yield from self._flush()
            if stripped.upper() in (":PROPERTIES:", ":LOGBOOK:"):
                next((inner for inner in self._lines if inner.strip().upper() == ":END:"), None)
        elif stripped.startswith("|"):
            yield from self._flush(keep_rows=True)
            if not re.match(r"^\|[-+|]+$", stripped):
                self._rows.append(tuple(_plain(cell.strip()) for cell in stripped.strip("|").split("|")))
        elif item := _ITEM.match(line):
            yield from self._flush()
            self._item = (self._depth(len(item[1].expandtabs(4))), f"{item[2]} " if item[2] else "")
            self._pending = [item[3]]
        elif not stripped or _DROPPED.match(line):
            yield from self._flush()
        else:
            if self._item and not line[:1].isspace():
                yield from self._flush()
                self._indents = []
            self._pending.append(stripped)

    def _depth(self, indent: int) -> int:
        self._indents = [known for known in self._indents if known < indent] + [indent]
        return len(self._indents) - 1

    def _until_end(self, kind: str) -> Iterator[Block]:
        body: list[str] = []
        for line in self._lines:
            if re.match(rf"^\s*#\+end_{re.escape(kind)}", line, re.IGNORECASE):
                break
            body.append(line)
        if kind in _VERBATIM:
            yield Block("code", "\n".join(body))
        elif kind != "comment":
            yield from _Reader(body).blocks()

    def _flush(self, keep_rows: bool = False) -> Iterator[Block]:
        if self._rows and not keep_rows:
            yield Block("table", rows=tuple(self._rows))
            self._rows = []
        if self._pending:
            text = _plain(" ".join(self._pending))
            if self._item:
                yield Block("list_item", self._item[1] + text, level=self._item[0])
            else:
                yield Block("paragraph", text)
        self._pending, self._item = [], None


def _plain(text: str) -> str:
    text = _LINK.sub(lambda match: match[2] or match[1], text)
    pieces = _CODE.split(text)
    shown = [f"`{piece}`" if place % 2 else _MARKS.sub(r"\2", piece) for place, piece in enumerate(pieces)]
    return "".join(shown)
