"""AsciiDoc, read by ourselves: no maintained Python library reads it. Sections, lists, tables, listings, admonitions.

Attributes are filled in; includes, conditions and comments are left out, since their other files are not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from assistant.knowledge.documents import Block
from workers.ingestion.parse.asciidoc_inline import Attributes, plain
from workers.ingestion.parse.asciidoc_table import table_rows
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

_SECTION = re.compile(r"^(={1,6}|#{1,6})\s+(\S.*?)(?:\s+\1)?$")
_ATTRIBUTE = re.compile(r"^:(!?[\w-]+!?):(?:\s+(.*))?$")
_BLOCK_ATTRIBUTES = re.compile(r"^\[(.*)\]$")
_ANCHOR = re.compile(r"^\[\[([^\],]+)(?:,[^\]]*)?\]\]$")
_DELIMITER = re.compile(r"^(-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|`{3,}.*|--|[|,:!]={3,})$")
_BULLET = re.compile(r"^\s*(\*{1,5}|-|•)\s+(?:\[[ x*]\]\s+)?(\S.*)$")
_ORDERED = re.compile(r"^\s*(\.{1,5}|\d+\.|[a-z]\.)\s+(\S.*)$")
_CALLOUT = re.compile(r"^<(\d+|\.)>\s+(\S.*)$")
_TERM = re.compile(r"^\s*(\S.*?)(:{2,4}|;;)(?:\s+(.*))?$")
_TITLE = re.compile(r"^\.([^\s.].*)$")
_LABEL = re.compile(r"^(NOTE|TIP|IMPORTANT|WARNING|CAUTION):\s+(.*)$")
_DIRECTIVE = re.compile(r"^(?:include|ifdef|ifndef|ifeval|endif|toc|video|audio)::\S*\[.*\]$")
_IMAGE = re.compile(r"^image::[^\[]*\[([^\],]*)")
_RULE = re.compile(r"^(?:'{3,}|<{3,}|-{3}|\*{3})$")
_VERBATIM = "-.`"


def read(content: bytes, name: str) -> Draft:
    return _Reader(decode(content).split("\n")).draft()


class _Reader:
    def __init__(self, lines: list[str], attributes: Attributes | None = None) -> None:
        self._lines = [line.rstrip() for line in lines]
        self._at = 0
        self._attributes = attributes if attributes is not None else Attributes()
        self._style = ""  # the block attributes that stand before the next block
        self._anchor: str | None = None
        self._numbers: dict[int, int] = {}  # list depth -> the last number given
        self._markers: list[str] = []  # of the open lists, outermost first

    def draft(self) -> Draft:
        title, metadata = self._header()
        return Draft(list(self.blocks()), title, "", metadata)

    def _header(self) -> tuple[str, dict[str, str]]:
        """The document's title, and the author and date on the lines beneath it."""
        while self._at < len(self._lines) and (
            not self._lines[self._at] or self._lines[self._at].startswith("//") or self._read_attribute()
        ):
            self._at += 1
        match = _SECTION.match(self._line())
        if not match or len(match[1]) != 1:
            return "", {}
        self._at += 1
        metadata: dict[str, str] = {}
        for kind in ("author", "updated"):
            line = self._line()
            if not line or line.startswith((":", "//", "[", "=")):
                break
            date = re.search(r"\d{4}-\d{2}-\d{2}", line)
            metadata[kind] = re.sub(r"\s*<[^>]*>", "", line) if kind == "author" else date[0] if date else ""
            self._at += 1
        while self._line().startswith(":") and self._read_attribute():
            self._at += 1
        return plain(match[2], self._attributes), metadata

    def _line(self) -> str:
        return self._lines[self._at] if self._at < len(self._lines) else ""

    def blocks(self) -> Iterator[Block]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if line:
                yield from self._block(line)
            elif not self._list_goes_on():
                self._markers, self._numbers = [], {}

    def _list_goes_on(self) -> bool:
        following = self._line()
        return bool(_BULLET.match(following) or _ORDERED.match(following) or following in ("", "+"))

    def _block(self, line: str) -> Iterator[Block]:
        section = _SECTION.match(line)
        if _DELIMITER.match(line) and not (section and " " in line):
            yield from self._delimited(line)
        elif section:
            yield self._heading(section)
        elif _ANCHOR.match(line) or _BLOCK_ATTRIBUTES.match(line):
            self._remember(line)
            return
        elif line.startswith("//") or _DIRECTIVE.match(line) or _RULE.match(line) or line == "+":
            return
        elif _ATTRIBUTE.match(line):
            self._at -= 1
            self._read_attribute()
            self._at += 1
        elif (title := _TITLE.match(line)) and not _ORDERED.match(line):
            yield Block("paragraph", plain(title[1], self._attributes))
            return  # what it names keeps its attributes
        elif image := _IMAGE.match(line):
            yield Block("paragraph", plain(image[1].strip("\"'"), self._attributes))
        else:
            yield from self._text(line)
        self._style = ""

    def _remember(self, line: str) -> None:
        anchor = _ANCHOR.match(line) or re.match(r"^\[#([\w.:-]+)", line)
        if anchor:
            self._anchor = anchor[1]
        if not _ANCHOR.match(line):
            self._style = line[1:-1]

    def _read_attribute(self) -> bool:
        match = _ATTRIBUTE.match(self._line())
        if match:
            value = match[2] or ""
            while value.endswith(" \\") and self._at + 1 < len(self._lines):
                self._at += 1
                value = f"{value[:-2]} {self._line().strip()}"
            self._attributes[match[1].strip("!").lower()] = value
        return match is not None

    def _heading(self, match: re.Match[str]) -> Block:
        text = plain(match[2], self._attributes)
        inline = re.match(r"\[\[([^\]]+)\]\]\s*(.*)", text)
        anchor, text = (inline[1], inline[2]) if inline else (self._anchor, text)
        self._anchor, self._markers, self._numbers = None, [], {}
        made = "_" + re.sub(r"[\s.-]+", "_", re.sub(r"[^\w\s.-]", "", text.lower())).strip("_")
        return Block("heading", text, level=len(match[1]), anchor=anchor or made)

    def _delimited(self, delimiter: str) -> Iterator[Block]:
        body: list[str] = []
        closing = "```" if delimiter.startswith("```") else delimiter
        while self._at < len(self._lines) and self._lines[self._at] != closing:
            body.append(self._lines[self._at])
            self._at += 1
        self._at += 1
        mark = delimiter[0]
        if mark in "/+":
            return
        if (delimiter != "--" and mark in _VERBATIM) or "source" in self._style or "listing" in self._style:
            yield Block(
                "code", re.sub(r"[ \t]*(?://|#|--|;;)?[ \t]*<(?:\d+|\.)>[ \t]*$", "", "\n".join(body), flags=re.M)
            )
        elif mark in "|,:!" and "=" in delimiter:
            yield Block("table", rows=table_rows(body, self._style, mark, self._attributes))
        else:
            inner = list(_Reader(body, self._attributes).blocks())
            label = re.match(r"(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\b", self._style)
            if label and inner and inner[0].kind == "paragraph":
                inner[0] = Block("paragraph", f"{label[1].capitalize()}: {inner[0].text}")
            yield from inner

    def _text(self, line: str) -> Iterator[Block]:
        callout = _CALLOUT.match(line)
        if callout:
            yield Block("list_item", f"{callout[1]}. {self._joined(callout[2])}" if callout[1] != "." else callout[2])
        elif bullet := _BULLET.match(line):
            yield Block("list_item", self._joined(bullet[2]), level=self._depth(bullet[1]))
        elif ordered := _ORDERED.match(line):
            depth = self._depth("1." if ordered[1][0].isdigit() else ordered[1])
            self._numbers = {key: number for key, number in self._numbers.items() if key <= depth}
            self._numbers[depth] = self._numbers.get(depth, 0) + 1
            yield Block("list_item", f"{self._numbers[depth]}. {self._joined(ordered[2])}", level=depth)
        elif (term := _TERM.match(line)) and not line.startswith("http"):
            yield from self._term(term)
        elif line.startswith((" ", "\t")) and not self._markers:
            yield Block("code", "\n".join([line, *self._rest()]))
        else:
            yield from self._paragraph(line)

    def _term(self, match: re.Match[str]) -> Iterator[Block]:
        while not match[3] and self._at < len(self._lines) and not self._line():
            self._at += 1
        term, given = plain(match[1], self._attributes), match[3] or ""
        if not given and self._starts_something(self._line()):
            yield Block("paragraph", f"{term}:")
            return
        yield Block("list_item", f"{term}: {self._joined(given.strip())}".strip())

    def _paragraph(self, line: str) -> Iterator[Block]:
        lines = [line, *self._rest()]
        if self._style.startswith(("source", "listing", "literal")):
            yield Block("code", "\n".join(lines))
            return
        label = _LABEL.match(line)
        style = re.match(r"(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\b", self._style)
        if label:
            lines[0] = f"{label[1].capitalize()}: {label[2]}"
        elif style:
            lines[0] = f"{style[1].capitalize()}: {lines[0]}"
        joined = "\n".join(part.removesuffix(" +") if part.endswith(" +") else part + "\0" for part in lines)
        yield Block("paragraph", plain(joined.replace("\0\n", " ").rstrip("\0"), self._attributes))

    def _rest(self) -> list[str]:
        """The lines that go on with a paragraph."""
        found = []
        while self._line() and not self._starts_something(self._line()):
            found.append(self._line())
            self._at += 1
        return found

    def _joined(self, first: str) -> str:
        words = [first, *(line.strip() for line in self._rest())]
        return plain(" ".join(filter(None, words)), self._attributes)

    def _starts_something(self, line: str) -> bool:
        if line == "+" or _DELIMITER.match(line) or _BLOCK_ATTRIBUTES.match(line) or line.startswith("//"):
            return True
        return bool(_BULLET.match(line) or _ORDERED.match(line) or _CALLOUT.match(line) or _TERM.match(line))

    def _depth(self, marker: str) -> int:
        if marker in self._markers:
            del self._markers[self._markers.index(marker) + 1 :]
        else:
            self._markers.append(marker)
        return len(self._markers) - 1
