"""Source code by its structure: a section per class and function, named and with the line at which it stands.

Twelve languages are parsed by tree-sitter; others, and configuration, are cut at the definitions that can be told by
their first line. The anchor is the line ("L12"), as code hosts write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from assistant.knowledge.documents import Block
from workers.ingestion.parse.code_tree import LANGUAGES, Unit, units
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.formats import extension_of

MAX_PARSED = 2 * 2**20  # larger files are made by machines
_NAMED = re.compile(
    r"^(?P<sql>create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+|unique\s+|materialized\s+)*"
    r"(?:table|view|function|procedure|index|type|trigger|schema)\s+(?:if\s+not\s+exists\s+)?[\w.\"`]+)"
    r"|^\[(?P<section>[^\]\n]+)\]\s*$"
    r"|^(?P<block>(?:resource|module|variable|output|data|provider|locals|terraform)(?:\s+\"[^\"]+\")*)\s*\{"
    r"|^(?:export\s+|public\s+|private\s+|internal\s+|abstract\s+|final\s+|static\s+|async\s+|pub\s+|open\s+|local\s+)*"
    r"(?P<definition>(?:message|service|enum|interface|type|input|union|scalar|def|defp|defmodule|defmacro|func|fun|"
    r"function|sub|class|object|trait|struct|protocol|extension|package|mixin|fn)\s+[\w.$:]+)"
    r"|^(?P<target>[\w./%-]+(?:\s+[\w./%-]+)*):(?!=)(?:\s|$)"
    r"|^(?P<stage>FROM\s+\S+(?:\s+AS\s+\S+)?)",
    re.IGNORECASE,
)
_TARGETS = frozenset({".mk", ""})
_GROUPS = ("sql", "section", "block", "definition", "stage")


def read(content: bytes, name: str) -> Draft:
    source = decode(content)
    language = LANGUAGES.get(extension_of(name))
    if language and len(source) <= MAX_PARSED:
        blocks = _joined(block for unit in units(source, language) for block in _unit_blocks(unit))
    else:
        blocks = list(_by_first_lines(source, extension_of(name)))
    return Draft(blocks, name)


def _joined(found: Iterable[Block]) -> list[Block]:
    """What stands between a class's first line and its first method belongs to that line."""
    blocks: list[Block] = []
    for block in found:
        if blocks and block.kind == blocks[-1].kind == "code":
            blocks[-1] = Block("code", f"{blocks[-1].text}\n\n{block.text}")
        else:
            blocks.append(block)
    return blocks


def _unit_blocks(unit: Unit) -> Iterator[Block]:
    if unit.name:
        yield Block("heading", unit.name, level=min(unit.depth + 2, 6), anchor=f"L{unit.line}")
    if unit.text.strip():
        yield Block("code", unit.text)


def _by_first_lines(source: str, extension: str) -> Iterator[Block]:
    body: list[str] = []
    waiting: list[str] = []  # comments and blank lines, which belong to what follows
    for number, line in enumerate(source.split("\n"), 1):
        name = _name(line, extension)
        if name:
            yield from _code(body)
            yield Block("heading", name, level=2, anchor=f"L{number}")
            body, waiting = [*waiting, line], []
        elif not line.strip() or line.startswith(("#", "//", "--", ";", "/*", " *", "*")):
            waiting.append(line)
        else:
            body, waiting = [*body, *waiting, line], []
    yield from _code([*body, *waiting])


def _code(lines: list[str]) -> Iterator[Block]:
    text = "\n".join(lines).strip("\n")
    if text.strip():
        yield Block("code", text)


def _name(line: str, extension: str) -> str:
    match = _NAMED.match(line)
    if not match:
        return ""
    if match["target"]:
        return match["target"] if extension in _TARGETS else ""
    return next((" ".join(match[group].split()).replace('"', "") for group in _GROUPS if match[group]), "")
