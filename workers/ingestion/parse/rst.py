"""reStructuredText through docutils. What Sphinx adds to it (roles, directives) is read for its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

_SETTINGS = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "sectsubtitle_xform": False,
    "input_encoding": "unicode",
    "output_encoding": "unicode",
    "_disable_config": True,
    "warning_stream": False,
    "line_length_limit": 1_000_000,
}
_DIRECTIVE = re.compile(r"^[ \t]*(?:\.\. (?:\|[^|\n]+\| )?)([A-Za-z][\w:+.-]*)::(?=\s|$)", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:+.-]*):`")
_TARGET = re.compile(r"\s*<[^<>]+>$")
_CODE = frozenset("code code-block sourcecode highlight literalinclude parsed-literal prompt console".split())
_SILENT = frozenset("toctree index highlight tabularcolumns currentmodule module default-domain literalinclude".split())
_PROSE_ROLES = frozenset("ref doc term numref any abbr guilabel menuselection download dfn sup sub title".split())
_LABELLED = frozenset("attention caution danger error hint important note tip warning".split())


def read(content: bytes, name: str) -> Draft:
    source = decode(content)
    _learn(source)
    tree = publish_doctree(source, settings_overrides=_SETTINGS)
    return Draft(list(_Walker().children(tree)))


def _learn(source: str) -> None:
    """Gives every directive and role that the text uses, and docutils does not know, a reading."""
    for found in set(_DIRECTIVE.findall(source)):
        if found in _CODE:
            directives.register_directive(found, _Code)
        elif found not in directives._directive_registry and found not in directives._directives:
            directives.register_directive(found, _Silent if found in _SILENT else _Generic)
    for found in set(_ROLE.findall(source)):
        if found not in roles._role_registry:
            roles.register_local_role(found, _role)


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """A label for what it points at: its words where it has some, else the name."""
    shown = _TARGET.sub("", text.replace("\0", "")) if "<" in text else text.replace("\0", "").lstrip("~!")
    plain = name.rsplit(":", 1)[-1] in _PROSE_ROLES
    return [nodes.Text(shown) if plain else nodes.literal(rawtext, shown)], []


class _AnyOption(dict[str, Callable[[str | None], str]]):
    def __missing__(self, key: str) -> Callable[[str | None], str]:
        return lambda argument: argument or ""


class _Generic(Directive):
    """Its argument as a line and its content as usual."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _AnyOption({"class": str})  # an empty one would count as none

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        if self.arguments:
            label = {"versionadded": "Added in", "versionchanged": "Changed in", "deprecated": "Deprecated since"}
            prefix = label.get(self.name, "")
            found.append(nodes.paragraph("", f"{prefix} {self.arguments[0]}".strip()))
        holder = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, holder, match_titles=True)
        return [*found, *holder.children]


class _Code(_Generic):
    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text)] if text.strip() else []


class _Silent(_Generic):
    def run(self) -> list[nodes.Node]:
        return []


class _Walker:
    """Depth first over the document tree."""

    def __init__(self) -> None:
        self._level = 0
        self._depth = -1  # of the open list
        self._marker: str | None = None  # the number of an item whose first paragraph is still to come

    def children(self, node: nodes.Element) -> Iterator[Block]:
        for child in node.children:
            if isinstance(child, nodes.Element):
                yield from self._node(child)

    def _node(self, node: nodes.Element) -> Iterator[Block]:
        match node:
            case nodes.section():
                self._level += 1
                yield from self.children(node)
                self._level -= 1
            case nodes.title() if isinstance(node.parent, nodes.section):
                ids = node.parent.get("ids") or [""]
                yield Block("heading", node.astext(), level=min(self._level, 6), anchor=ids[0] or None)
            case nodes.literal_block() | nodes.doctest_block() | nodes.math_block():
                yield from self._pending()
                yield Block("code", node.astext())
            case nodes.table():
                yield from self._table(node)
            case nodes.bullet_list() | nodes.enumerated_list():
                yield from self._list(node)
            case nodes.definition_list_item():
                yield from self._definition(node)
            case nodes.field() | nodes.option_list_item():
                first, *others = (_text(child) for child in node.children)
                yield self._line(f"{first}: {' '.join(others)}", item=True)
            case nodes.line_block():
                yield self._line("\n".join(_text(line) for line in node.findall(nodes.line)))
            case nodes.comment() | nodes.system_message() | nodes.substitution_definition() | nodes.raw():
                return
            case nodes.TextElement():
                text = _text(node)
                if text:
                    yield self._line(text)
            case nodes.Admonition():
                yield from self._admonition(node)
            case nodes.image():
                if node.get("alt"):
                    yield self._line(str(node["alt"]))
            case _:
                yield from self.children(node)

    def _line(self, text: str, item: bool = False) -> Block:
        if self._marker is not None:
            text, self._marker = self._marker + text, None
            return Block("list_item", text, level=max(self._depth, 0))
        return Block("list_item" if item else "paragraph", text, level=max(self._depth, 0) if item else 0)

    def _pending(self) -> Iterator[Block]:
        if self._marker:
            yield Block("list_item", self._marker.strip(), level=max(self._depth, 0))
        self._marker = None

    def _list(self, node: nodes.Element) -> Iterator[Block]:
        self._depth += 1
        number = int(node.get("start", 1))
        for item in node.children:
            self._marker = f"{number}. " if isinstance(node, nodes.enumerated_list) else ""
            yield from self.children(item) if isinstance(item, nodes.Element) else ()
            self._marker = None
            number += 1
        self._depth -= 1

    def _definition(self, node: nodes.Element) -> Iterator[Block]:
        term = ": ".join(_text(child) for child in node.children if isinstance(child, nodes.term | nodes.classifier))
        body = [child for child in node.children if isinstance(child, nodes.definition)]
        self._depth += 1
        self._marker = f"{term}: "
        for definition in body:
            yield from self.children(definition)
        yield from self._pending()
        self._depth -= 1

    def _admonition(self, node: nodes.Element) -> Iterator[Block]:
        label = node.tagname.capitalize() if node.tagname in _LABELLED else ""
        for block in self.children(node):
            if label and block.kind == "paragraph":
                yield Block("paragraph", f"{label}: {block.text}")
                label = ""
            else:
                yield block

    def _table(self, node: nodes.Element) -> Iterator[Block]:
        title = next(iter(node.findall(nodes.title)), None)
        if title is not None:
            yield self._line(title.astext())
        rows: list[tuple[str, ...]] = []
        below: dict[int, tuple[int, str]] = {}  # column -> rows that its cell still reaches, its text
        for row in node.findall(nodes.row):
            cells: list[str] = []
            for entry in row.children:
                _carry(cells, below)
                text = _text(entry) if isinstance(entry, nodes.Element) else ""
                if entry.get("morerows"):
                    below[len(cells)] = (int(entry["morerows"]), text)
                cells.extend([text, *[""] * int(entry.get("morecols", 0))])
            _carry(cells, below)
            rows.append(tuple(cells))
        yield Block("table", rows=tuple(rows))


def _carry(cells: list[str], below: dict[int, tuple[int, str]]) -> None:
    while len(cells) in below:
        column = len(cells)
        left, text = below.pop(column)
        cells.append(text)
        if left > 1:
            below[column] = (left - 1, text)


def _text(node: nodes.Element) -> str:
    """The words of a node; inline literals keep their backticks, an image leaves its alt text."""
    parts: list[str] = []
    for child in node.children:
        if isinstance(child, nodes.literal):
            parts.append(f"`{child.astext()}`")
        elif isinstance(child, nodes.image):
            parts.append(str(child.get("alt", "")))
        elif isinstance(child, nodes.Text):
            parts.append(child.astext())
        elif isinstance(child, nodes.Element) and not isinstance(child, nodes.system_message | nodes.raw):
            inner = _text(child)
            parts.append(inner if isinstance(child, nodes.Inline) else f" {inner} ")
    return re.sub(r"[ \t]*\n[ \t]*", " ", "".join(parts)).strip()
