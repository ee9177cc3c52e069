"""Markdown that Teams shows as it is meant, and that cannot do more than show text.

Teams has no tables and no headings in messages, so tables leave the text for a card and headings become bold. Text of
documents gets no HTML, no mentions, no remote images, and no link whose words name another address than it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from assistant.strings import say

FENCE = re.compile(r"^\s{0,3}(```|~~~)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s++(.*?)\s*+(?:#++\s*+)?$")
RULE = re.compile(r"^\s*+(?:\|\s*+)?:?-++:?\s*+(?:\|\s*+:?-++:?\s*+)*+(?:\|\s*+)?$")
CODE = re.compile(r"(`[^`\n]+`)")
DEFINITION = re.compile(r"^(\s{0,3}\[[^\]]+\]):")
LINK = re.compile(
    r"\[([^\[\]]*)\]\(\s*(https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+\"[^\"]*\")?\s*\)", re.IGNORECASE
)
UNSAFE_LINK = re.compile(r"\]\((?!\s*https?://)", re.IGNORECASE)
USERINFO = re.compile(r"(https?://)[^\s/@()\[\]]*@", re.IGNORECASE)
ADDRESS = re.compile(r"(?:https?://|(?<![\w-])(?<![\w-]\.))((?:[\w-]++\.)+[a-z]{2,}+)(?![\w.-])", re.IGNORECASE)
BARE_ITEM = re.compile(r"^\s*+(?:(?:\d++[.)]|[-*+])\s*+)?$")
OPEN_CELL = re.compile(r"(?<!\\)\|")
# what looks like an address and is a file
FILES = frozenset(
    "c cfg conf cpp css csv docx go h htm html ini ipynb java jpg js json log md pdf png pptx py rs rst sh sql svg tf "
    "toml ts txt xlsx xml yaml yml".split()
)


@dataclass(frozen=True, slots=True)
class Table:
    """``header`` and ``rows`` of neutral text, each row as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Text as Teams shows it, and the tables it refers to by number."""

    text: str
    tables: tuple[Table, ...] = ()


def neutral(text: str) -> str:
    """The text without the means to mention, to embed or to mislead; code keeps its characters."""
    return "\n".join(line for line, _ in _lines(text))


def shown(text: str, language: str) -> Shown:
    """The text with its tables taken out; where each stood, a line says which it is."""
    lines, tables = list(_lines(text)), []  # type: tuple[list[tuple[str, bool]], list[Table]]
    out: list[str] = []
    at = 0
    while at < len(lines):
        line, code = lines[at]
        if not code and _begins_table(lines, at):
            end = _end_of_table(lines, at)
            tables.append(_table([line for line, _ in lines[at:end]]))
            out.append(f"*{say('teams.table', language, n=len(tables))}*")
            at = end
            continue
        heading = None if code else HEADING.match(line)
        out.append(f"**{heading[1]}**" if heading and heading[1] else line)
        at += 1
    return Shown("\n".join(out), tuple(tables))


class Growing:
    """Text that arrives in pieces, as far as what follows cannot change how it is shown."""

    def __init__(self, language: str, limit: int) -> None:
        self._language = language
        self._limit = limit
        self._raw = ""
        self._shown = ""

    def feed(self, piece: str) -> None:
        self._raw += piece

    @property
    def text(self) -> str:
        """Always an extension of what it was before."""
        if len(self._shown) < self._limit:
            new = shown(_settled(self._raw), self._language).text.rstrip()
            if new.startswith(self._shown) and len(new) <= self._limit:
                self._shown = new
        return self._shown


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, neutral, and whether it is code."""
    fence = ""
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if fence:
            yield line, True
            fence = "" if mark and mark[1] == fence else fence
        elif mark:
            fence = mark[1]
            yield line, True
        else:
            yield _neutral_line(line), False


def _neutral_line(line: str) -> str:
    pieces = CODE.split(line)
    line = "".join(piece if index % 2 else neutral_prose(piece) for index, piece in enumerate(pieces))
    return DEFINITION.sub(r"\1 :", line)  # else "[1]: …" would make a link of the marker [1]


def neutral_prose(text: str) -> str:
    """One line without code."""
    text = text.replace("<", "&lt;").replace("![", "[")
    text = USERINFO.sub(r"\1", UNSAFE_LINK.sub("] (", text))
    return LINK.sub(_honest, text)


def _honest(link: re.Match[str]) -> str:
    """The link as it is, or named by its target where its words name another address."""
    words, url = link[1], link[2]
    target = (urlsplit(url).hostname or "").lower()
    named = {host.lower() for host in ADDRESS.findall(words) if host.rpartition(".")[2].lower() not in FILES}
    if all(target == host or target.endswith(f".{host}") for host in named):
        return link[0]
    return f"[{target}]({url})"


def _begins_table(lines: list[tuple[str, bool]], at: int) -> bool:
    if "|" not in lines[at][0] or at + 1 >= len(lines) or lines[at + 1][1]:
        return False
    rule = lines[at + 1][0]
    return "-" in rule and bool(RULE.match(rule)) and len(_cells(rule)) == len(_cells(lines[at][0]))


def _end_of_table(lines: list[tuple[str, bool]], at: int) -> int:
    end = at + 2
    while end < len(lines) and not lines[end][1] and "|" in lines[end][0]:
        end += 1
    return end


def _table(lines: list[str]) -> Table:
    header = _cells(lines[0])
    rows = (_cells(line) for line in lines[2:])
    return Table(header, tuple(tuple([*row, *[""] * len(header)][: len(header)]) for row in rows))


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip()
    line = line[1:] if line.startswith("|") else line
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return tuple(cell.strip().replace("\\|", "|") for cell in OPEN_CELL.split(line))


def _settled(raw: str) -> str:
    """As much of the text as reads the same whatever comes next."""
    head, newline, last = raw.rpartition("\n")
    lines = head.split("\n")
    if newline and "|" in lines[-1] and not _in_code(lines):
        # a table's header is known by the line after it; its rows end with the first line that is none
        while lines and "|" in lines[-1]:
            lines.pop()
        return "\n".join(lines)
    if _in_code(lines if newline else []):
        return head + newline + last if not last.lstrip().startswith(("`", "~")) else head
    return head + newline + _settled_line(last)


def _in_code(lines: list[str]) -> bool:
    fence = ""
    for line in lines:
        if mark := FENCE.match(line):
            fence = mark[1] if not fence else "" if mark[1] == fence else fence
    return bool(fence)


def _settled_line(line: str) -> str:
    """Whole words before anything that is still open: code, a link, a heading, a table."""
    if line.lstrip().startswith(("#", "|", "`", "~")) or "|" in line:
        return ""
    cut = len(line)
    at = 0
    while at < len(line):
        if line[at] == "`":
            end = line.find("`", at + 1)
        elif line[at] == "[":
            end = _end_of_bracket(line, at)
        else:
            at += 1
            continue
        if end < 0:
            cut = at
            break
        at = end + 1
    space = line.rfind(" ", 0, cut)
    settled = line[:space] if space > 0 else ""
    return "" if BARE_ITEM.match(settled) else settled


def _end_of_bracket(line: str, at: int) -> int:
    """Where ``[…]`` or ``[…](…)`` ends for good; -1 while it may go on."""
    close = line.find("]", at)
    if close < 0 or close + 1 >= len(line):
        return -1
    return line.find(")", close) if line[close + 1] == "(" else close
