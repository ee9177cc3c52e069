"""Plain text and logs: paragraphs, bullets, underlined headings, code after ``::``."""

from __future__ import annotations

import re

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft, slug

_UNDERLINE = re.compile(r"([=\-~^#*+\"])\1{2,}\s*$")
_BULLET = re.compile(r"^(\s*)(?:[-*•+]|(\d{1,3}[.)]))\s+(?=\S)")
_WRAPPED = 50  # lines this long were broken by an editor, not by their author


def read(content: bytes, name: str) -> Draft:
    return Draft(blocks_of(decode(content)))


def blocks_of(source: str) -> list[Block]:
    """The blocks of text inside another format."""
    blocks: list[Block] = []
    underlines: list[str] = []
    anchors: dict[str, int] = {}
    for lines in _groups(source):
        if len(lines) > 2 and _UNDERLINE.match(lines[0]) and lines[0].strip() == lines[2].strip():
            lines = lines[1:]  # reStructuredText puts a rule above a title too
        heading = _heading(lines, underlines)
        if heading:
            blocks.append(Block("heading", heading[0], level=heading[1], anchor=slug(heading[0], anchors)))
            lines = lines[2:]
        if lines and _is_code(lines, blocks):
            blocks.append(Block("code", _dedent(lines)))
        else:
            blocks.extend(_prose(lines))
    return blocks


def _groups(text: str) -> list[list[str]]:
    return [group.split("\n") for group in re.split(r"\n(?:[ \t\f]*\n)+", text.strip("\n")) if group.strip()]


def _heading(lines: list[str], underlines: list[str]) -> tuple[str, int] | None:
    """A line with a rule of its own length beneath; levels go by the order in which the rules appear."""
    if len(lines) < 2 or lines[0][:1].isspace() or not any(map(str.isalnum, lines[0])):
        return None
    rule = _UNDERLINE.match(lines[1])
    if not rule or len(lines[1].rstrip()) < len(lines[0].rstrip()) or len(lines[0]) > 100:
        return None
    if rule[1] not in underlines:
        underlines.append(rule[1])
    return lines[0].strip(), min(underlines.index(rule[1]) + 1, 6)


def _is_code(lines: list[str], before: list[Block]) -> bool:
    indented = all(line.startswith(("  ", "\t")) for line in lines)
    if not indented or not before:
        return False
    last = before[-1]
    return last.kind == "code" or last.text.endswith("::") or last.text.startswith(".. code")


def _dedent(lines: list[str]) -> str:
    expanded = [line.expandtabs(4) for line in lines]
    margin = min(len(line) - len(line.lstrip()) for line in expanded)
    return "\n".join(line[margin:].rstrip() for line in expanded)


def _prose(lines: list[str]) -> list[Block]:
    blocks: list[Block] = []
    pending: list[str] = []
    for line in lines:
        bullet = _BULLET.match(line)
        if bullet:
            blocks.extend(_paragraph(pending))
            pending = []
            number = f"{bullet[2]} " if bullet[2] else ""
            depth = min(len(bullet[1].expandtabs(4)) // 2, 5)
            blocks.append(Block("list_item", number + line[bullet.end() :].strip(), level=depth))
        elif blocks and not pending and blocks[-1].kind == "list_item" and line[:1].isspace():
            item = blocks.pop()
            blocks.append(Block("list_item", f"{item.text} {line.strip()}", level=item.level))
        else:
            pending.append(line.strip())
    return blocks + _paragraph(pending)


def _paragraph(lines: list[str]) -> list[Block]:
    if not lines:
        return []
    wrapped = len(lines) > 1 and all(len(line) >= _WRAPPED for line in lines[:-1]) and max(map(len, lines)) <= 120
    return [Block("paragraph", (" " if wrapped else "\n").join(lines))]
