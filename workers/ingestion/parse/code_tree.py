"""Definitions by tree-sitter: functions and classes with what belongs to them, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from tree_sitter import Language, Node, Parser


@dataclass(frozen=True, slots=True)
class Grammar:
    """``units`` become sections, ``holders`` sections with their own units inside, ``wrappers`` are looked through."""

    module: str
    units: frozenset[str]
    holders: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    factory: str = "language"


@dataclass(frozen=True, slots=True)
class Unit:
    """Without a name it is what stands between definitions."""

    name: str
    text: str
    line: int
    depth: int = 0


def _grammar(module: str, units: str, holders: str = "", wrappers: str = "", factory: str = "language") -> Grammar:
    return Grammar(module, frozenset(units.split()), frozenset(holders.split()), frozenset(wrappers.split()), factory)


_JS = "function_declaration generator_function_declaration method_definition lexical_declaration"
_TS = f"{_JS} interface_declaration type_alias_declaration enum_declaration function_signature"
_C = "function_definition struct_specifier enum_specifier union_specifier type_definition preproc_function_def"
_PYTHON = _grammar("tree_sitter_python", "function_definition", "class_definition", "decorated_definition")
_SCRIPT = _grammar("tree_sitter_javascript", _JS, "class_declaration", "export_statement")
_TYPED = "class_declaration abstract_class_declaration internal_module module"
_TYPESCRIPT = _grammar("tree_sitter_typescript", _TS, _TYPED, "export_statement", "language_typescript")
_TSX = _grammar("tree_sitter_typescript", _TS, _TYPED, "export_statement", "language_tsx")
_GO = _grammar("tree_sitter_go", "function_declaration method_declaration type_declaration")
_RUST = _grammar(
    "tree_sitter_rust",
    "function_item struct_item enum_item type_item macro_definition union_item const_item",
    "impl_item trait_item mod_item",
)
_JAVA = _grammar(
    "tree_sitter_java",
    "method_declaration constructor_declaration annotation_type_declaration",
    "class_declaration interface_declaration enum_declaration record_declaration",
)
_KOTLIN = _grammar("tree_sitter_kotlin", "function_declaration", "class_declaration object_declaration")
_PLAIN_C = _grammar("tree_sitter_c", _C)
_CPP = _grammar("tree_sitter_cpp", f"{_C} template_declaration", "class_specifier namespace_definition")
_SHARP = _grammar(
    "tree_sitter_c_sharp",
    "method_declaration constructor_declaration enum_declaration delegate_declaration property_declaration",
    "class_declaration interface_declaration struct_declaration record_declaration namespace_declaration",
)
_RUBY = _grammar("tree_sitter_ruby", "method singleton_method", "class module")
_PHP = _grammar(
    "tree_sitter_php",
    "function_definition method_declaration enum_declaration",
    "class_declaration interface_declaration trait_declaration namespace_definition",
    factory="language_php",
)
_BASH = _grammar("tree_sitter_bash", "function_definition")

_EXTENSIONS: Mapping[str, Grammar] = {
    ".py .pyi": _PYTHON,
    ".js .mjs .cjs .jsx": _SCRIPT,
    ".ts .mts .cts": _TYPESCRIPT,
    ".tsx": _TSX,
    ".go": _GO,
    ".rs": _RUST,
    ".java": _JAVA,
    ".kt .kts": _KOTLIN,
    ".c": _PLAIN_C,
    ".h .cc .cpp .cxx .hh .hpp .hxx": _CPP,
    ".cs": _SHARP,
    ".rb .rake": _RUBY,
    ".php": _PHP,
    ".sh .bash .zsh .ksh": _BASH,
}
LANGUAGES = {extension: grammar for names, grammar in _EXTENSIONS.items() for extension in names.split()}
_COMMENTS = frozenset({"comment", "line_comment", "block_comment", "multiline_comment", "attribute_item"})
_SMALL = 1_200  # characters: a class that fits into a chunk stays whole
_WORDS = {"class": "class", "interface": "interface", "trait": "trait", "impl": "impl", "enum": "enum"}
_MAX_DEPTH = 4


def units(source: str, grammar: Grammar) -> Iterator[Unit]:
    """Together the units hold every line of the source once, in order."""
    data = source.encode("utf-8", "replace")
    root = Parser(_language(grammar.module, grammar.factory)).parse(data).root_node
    return _Reader(data, grammar).units(root, 0, len(data), 0)


@cache
def _language(module: str, factory: str) -> Language:
    return Language(getattr(import_module(module), factory)())


class _Reader:
    def __init__(self, data: bytes, grammar: Grammar) -> None:
        self._data = data
        self._grammar = grammar

    def units(self, parent: Node, start: int, end: int, depth: int) -> Iterator[Unit]:
        """The definitions among the children, and what stands between them from ``start`` to ``end``."""
        position = start
        comment: int | None = None  # where the comments begin that lead to the next node
        for child in parent.children:
            if child.type in _COMMENTS:
                comment = child.start_byte if comment is None else comment
                continue
            inner = self._definition(child)
            if inner is not None and child.start_byte >= position:
                begin = self._line_start(child.start_byte if comment is None else max(comment, position))
                begin = max(begin, position)
                yield from self._between(position, begin, depth)
                position = self._line_end(child.end_byte, end)
                yield from self._unit(child, inner, begin, position, depth)
            comment = None
        yield from self._between(position, end, depth)

    def _definition(self, node: Node) -> Node | None:
        """The node that defines something; in JavaScript a constant counts when it is a function."""
        grammar = self._grammar
        if node.type in grammar.wrappers:
            return next((found for child in node.named_children if (found := self._definition(child))), None)
        if node.type == "lexical_declaration":
            functions = ("arrow_function", "function_expression", "function")
            values = (child.child_by_field_name("value") for child in node.named_children)
            return node if any(value is not None and value.type in functions for value in values) else None
        return node if node.type in grammar.units | grammar.holders else None

    def _unit(self, node: Node, inner: Node, begin: int, end: int, depth: int) -> Iterator[Unit]:
        line = node.start_point[0] + 1
        name = self._name(inner)
        body = inner.child_by_field_name("body") or next((c for c in inner.children if c.type.endswith("body")), None)
        if inner.type in self._grammar.holders and body is not None and end - begin > _SMALL and depth < _MAX_DEPTH:
            opening = self._line_end(body.start_byte, body.end_byte) if body.start_byte else begin
            opening = min(opening, body.start_byte) if self._starts_inside(body, opening) else opening
            yield Unit(name, self._text(begin, opening), line, depth)
            yield from self.units(body, opening, end, depth + 1)
        else:
            yield Unit(name, self._text(begin, end), line, depth)

    def _starts_inside(self, body: Node, opening: int) -> bool:
        """Whether the body's first definition stands on the body's own first line, as in Python."""
        return any(self._definition(child) is not None and child.start_byte < opening for child in body.children)

    def _between(self, start: int, end: int, depth: int) -> Iterator[Unit]:
        text = self._text(start, end)
        if any(character.isalnum() for character in text):
            yield Unit("", text, self._data.count(b"\n", 0, start) + 1, depth)

    def _name(self, node: Node) -> str:
        word = next((word for part, word in _WORDS.items() if part in node.type), "")
        found = node.child_by_field_name("name") or _declared(node)
        if found is None and node.type == "impl_item":  # Rust: named by what it is for
            found = node.child_by_field_name("type")
        if found is None and node.named_children:  # ``const x = () => ...``, ``type X struct``
            inner = node.named_children[0]
            found = inner.child_by_field_name("name") or _declared(inner)
        name = " ".join(self._text(found.start_byte, found.end_byte).split())[:80] if found is not None else node.type
        return f"{word} {name}".strip()

    def _text(self, start: int, end: int) -> str:
        return self._data[start:end].decode("utf-8", "replace").strip("\n")

    def _line_start(self, at: int) -> int:
        return self._data.rfind(b"\n", 0, at) + 1

    def _line_end(self, at: int, most: int) -> int:
        found = self._data.find(b"\n", at)
        return most if found < 0 else min(found + 1, most)


def _declared(node: Node) -> Node | None:
    """C hides the name within its declarators."""
    found = node.child_by_field_name("declarator")
    while found is not None:
        inner = found.child_by_field_name("declarator")
        if inner is None:
            return found
        found = inner
    return None
