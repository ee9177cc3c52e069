"""Cuts a Markdown text into messages as it grows: between paragraphs, then table rows, lines of code, words.

Where a message ends depends on nothing that comes later, so a text that is streamed is cut as the whole one would be.
Nothing is lost: a code block that is cut is closed and opened again, a table's header is repeated. A message holds one
table at most, of Slack's size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.slack.clean import size

PAGE_CHARS = 11_000  # of Slack's 12,000 for Markdown; what stands below the text needs the rest
ENOUGH_CHARS = 8_000  # from here on a message ends with the paragraph
FULL_CHARS = 10_000  # and from here with the line
BLOCK_CHARS = 5_000  # code and tables that begin after this begin in the next message
TABLE_ROWS, TABLE_COLUMNS, TABLE_CHARS = 100, 20, 9_500  # Slack: 100, 20, 10,000

_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})(.*)$")
_DELIMITER_ROW = re.compile(r"^\s*+(?:\|\s*+)?:?-++:?\s*+(?:\|\s*+:?-++:?\s*+)*+(?:\|\s*+)?$")


def pages(text: str, limit: int = PAGE_CHARS) -> list[str]:
    """The messages of a whole text, in order; none for a text that is blank."""
    pager = Pager(limit)
    pager.feed(text)
    pager.finish()
    return pager.pages


class Pager:
    """Holds the messages so far; each only grows, and only the last one."""

    def __init__(self, limit: int = PAGE_CHARS) -> None:
        self._limit = limit
        self._pages: list[str] = []
        self._size = 0  # of the last page
        self._breaks = ""  # line breaks that belong there if anything follows
        self._rest = ""  # a line that has not ended
        self._begun = False  # the first words of that line are in the page already
        self._fence: tuple[str, str] | None = None  # the open code block: its first line, and what closes it
        self._header: list[str] = []  # of the table that is open
        self._rows = self._table_size = 0
        self._candidate: str | None = None  # a line that is a table's header if the next one says so
        self._tables = 0  # in the last page
        self._wide = False  # the open code block is a table that is too wide

    @property
    def pages(self) -> list[str]:
        return [page for page in self._pages if page]

    def feed(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line, whole=True)
        if self._rest and self._flows(self._rest):
            end = max(self._rest.rfind(" "), self._rest.rfind("\t")) + 1
            if end:
                self._words(self._rest[:end], begins=not self._begun)
                self._rest, self._begun = self._rest[end:], True

    def finish(self) -> None:
        if self._rest:
            self._line(self._rest, whole=False)
        self._settle_candidate()
        self._rest = ""
        if self._fence is not None:
            self._put("\n" + self._fence[1])
            self._fence = None

    def _flows(self, line: str) -> bool:
        """Whether an unfinished line may be shown by the word: it is surely no row and no code."""
        if self._begun:
            return True
        special = self._fence is not None or self._header or self._candidate is not None or "|" in line
        return not special and line.lstrip()[:1] not in ("`", "~", "")

    def _line(self, line: str, whole: bool) -> None:
        if self._wide and "|" not in line:
            self._put("\n```")
            self._fence, self._wide = None, False
        if self._begun:
            self._begun = False
            self._words(line)
        elif self._fence is not None:
            self._code(line)
        elif self._candidate is not None and _DELIMITER_ROW.match(line) and "|" in self._candidate:
            self._open_table(line)
        else:
            self._settle_candidate()
            if self._header and "|" in line:
                self._row(line)
            else:
                self._other(line, whole)
        if whole and self._candidate is None:
            self._breaks += "\n"

    def _other(self, line: str, whole: bool) -> None:
        self._header = []
        opening = _FENCE.match(line)
        if opening is not None and not (opening[1][0] == "`" and "`" in opening[2]):
            self._open_code(line, opening[1])
        elif whole and "|" in line:
            self._candidate = line
        elif not line.strip():
            if self._size > self._limit * ENOUGH_CHARS // PAGE_CHARS:
                self._next_page()
        else:
            self._words(line, begins=True)

    def _settle_candidate(self) -> None:
        if self._candidate is not None:
            line, self._candidate = self._candidate, None
            self._words(line, begins=True)
            self._breaks += "\n"

    # tables

    def _open_table(self, delimiter: str) -> None:
        header = self._candidate or ""
        self._candidate = None
        if size(header) + size(delimiter) > self._limit // 2:  # a header this long is text
            self._words(header, begins=True)
            self._breaks += "\n"
            self._words(delimiter, begins=True)
            return
        if len(_cells(header)) > TABLE_COLUMNS:  # too wide for Slack's tables: as it stands
            self._open_code("```", "```")
            self._wide = True
            for line in (header, delimiter):
                self._breaks += "\n"
                self._code(line)
            return
        if self._tables or self._size > self._limit * BLOCK_CHARS // PAGE_CHARS:
            self._next_page()
        self._header = [header, delimiter]
        self._head()

    def _head(self) -> None:
        self._tables += 1
        self._rows, self._table_size = 1, 0
        self._whole(self._header[0])
        self._breaks += "\n"
        self._whole(self._header[1])

    def _row(self, line: str) -> None:
        cost = size(line) + 1
        limits = self._rows >= TABLE_ROWS or self._table_size + cost > min(TABLE_CHARS, self._limit)
        if limits or self._size + cost + len(self._breaks) > self._limit:
            self._next_page()
            self._head()
            self._breaks += "\n"
        self._rows += 1
        self._table_size += cost
        self._whole(line)

    # code

    def _open_code(self, line: str, mark: str) -> None:
        if self._size > self._limit * BLOCK_CHARS // PAGE_CHARS:
            self._next_page()
        if size(line) > self._limit // 4:  # what stands after the mark is no language
            line = mark
        self._fence = (line, mark)
        self._whole(line)

    def _code(self, line: str) -> None:
        assert self._fence is not None
        first, mark = self._fence
        closing = _FENCE.match(line)
        if closing is not None and closing[1].startswith(mark) and not closing[2].strip():
            self._put("\n" + line.rstrip() if size(line) < 100 else "\n" + mark)
            self._breaks = ""
            self._fence = None
            return
        frame = size(first) + size(mark) + 2
        for piece in _cut(line, self._limit - frame - 2):
            if self._size + len(self._breaks) + size(piece) + size(mark) + 1 > self._limit:
                self._put("\n" + mark)
                self._next_page()
                self._whole(first)
                self._breaks += "\n"
            self._whole(piece)

    # text

    def _words(self, line: str, begins: bool = False) -> None:
        if begins and self._size > self._limit * FULL_CHARS // PAGE_CHARS:
            self._next_page()
        if self._size + len(self._breaks) + size(line) <= self._limit:
            self._whole(line)
            return
        for word in re.findall(r"\s*\S+\s*|\s+", line):
            for piece in _cut(word, self._limit):
                if self._size + len(self._breaks) + size(piece) > self._limit:
                    self._next_page()
                self._whole(piece)

    def _whole(self, text: str) -> None:
        if text:
            if not self._pages:
                self._pages.append("")
            if self._pages[-1]:
                self._put(self._breaks)
            self._breaks = ""
            self._put(text)

    def _put(self, text: str) -> None:
        self._pages[-1] += text
        self._size += size(text)

    def _next_page(self) -> None:
        self._breaks = ""
        self._size = self._tables = 0
        if self._pages and self._pages[-1]:
            self._pages.append("")


def _cells(row: str) -> list[str]:
    return row.strip().strip("|").split("|")


def _cut(line: str, limit: int) -> Iterator[str]:
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
