"""From a JSON Schema to an automaton that accepts only valid JSON: what the model will be allowed to write.

Idea.    Every value of the schema becomes a piece: an enum is a choice of words, a string is characters between
         quotes, an object is its properties in the schema's order. The language is a *subset* of what the schema
         allows: one layout, one order, no surplus properties, no more than 9 digits before the point. So whatever the
         automaton accepts is valid.
Source.  Willard and Louf, "Efficient Guided Generation for Large Language Models" (2023, Outlines); llama.cpp's GBNF.
Left out. ``pattern``, ``not``, ``allOf``, ``$ref``, ``uniqueItems``: a keyword that could make the language too wide
         raises ``Unsupported``. Recursion would need a stack (XGrammar, 2024, has one).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml.week10_agents.automaton import Automaton, Piece, byte_range, choice, compile_piece, repeat, sequence, word
from ml.week10_agents.schema import ANNOTATIONS, Schema

WHOLE, FRACTION = 9, 6  # digits before and after the point, where there is no range
HANDLED = {
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "minLength", "maxLength", "minimum", "maximum", "anyOf", "oneOf",
}  # fmt: skip


class Unsupported(ValueError):
    """The grammar cannot promise this keyword."""


def compile_schema(schema: Schema) -> Automaton:
    """The automaton of ``schema``. Raises Unsupported."""
    return compile_piece(value(schema))


def value(schema: Schema) -> Piece:
    """The piece for a value of ``schema``. Raises Unsupported."""
    if unknown := set(schema) - HANDLED - ANNOTATIONS:
        raise Unsupported(f"The grammar cannot promise {sorted(unknown)[0]!r}.")
    if "const" in schema:
        return word(dumps(schema["const"]))
    if "enum" in schema:
        return choice(*(word(dumps(allowed)) for allowed in schema["enum"]))
    if "anyOf" in schema:
        return choice(*map(value, schema["anyOf"]))
    if "oneOf" in schema:  # exclusive only where the forms are told apart by a constant; else it would promise too much
        if not all(_constants(form) for form in schema["oneOf"]):
            raise Unsupported("The grammar takes oneOf only where each form has a const property.")
        return choice(*map(value, schema["oneOf"]))
    kind = schema.get("type", "string")
    if not isinstance(kind, str):
        return choice(*(value({**schema, "type": one}) for one in kind))
    makers = {"object": _object, "array": _array, "string": _string, "integer": _integer, "number": _number}
    if kind in makers:
        return makers[kind](schema)
    words = {"boolean": ("true", "false"), "null": ("null",)}
    if kind not in words:
        raise Unsupported(f"The type {kind!r} does not exist in JSON Schema.")
    return choice(*map(word, words[kind]))


def dumps(given: Any) -> str:
    """JSON in the one layout that the grammar writes."""
    return json.dumps(given, ensure_ascii=False)


def _constants(form: Schema) -> bool:
    return any("const" in part for part in form.get("properties", {}).values())


# ---- strings ----
TAIL = byte_range(0x80, 0xBF)
CHARACTER = choice(  # one code point in UTF-8, without the quote, the backslash and control characters
    byte_range(0x20, 0x21), byte_range(0x23, 0x5B), byte_range(0x5D, 0x7E),
    sequence(byte_range(0xC2, 0xDF), TAIL),
    sequence(byte_range(0xE0, 0xE0), byte_range(0xA0, 0xBF), TAIL),
    sequence(byte_range(0xE1, 0xEC), TAIL, TAIL),
    sequence(byte_range(0xED, 0xED), byte_range(0x80, 0x9F), TAIL),  # without the halves of surrogate pairs
    sequence(byte_range(0xEE, 0xEF), TAIL, TAIL),
    sequence(byte_range(0xF0, 0xF0), byte_range(0x90, 0xBF), TAIL, TAIL),
    sequence(byte_range(0xF1, 0xF3), TAIL, TAIL, TAIL),
    sequence(byte_range(0xF4, 0xF4), byte_range(0x80, 0x8F), TAIL, TAIL),
    *(word(escape) for escape in ('\\"', "\\\\", "\\n", "\\t")),
)  # fmt: skip


def _string(schema: Schema) -> Piece:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    _sane(least, most, "string")
    return sequence(word('"'), repeat(CHARACTER, least, most), word('"'))


# ---- numbers ----
DIGIT, NONZERO = byte_range(0x30, 0x39), byte_range(0x31, 0x39)
NOTHING = word("")
DECIMALS = sequence(word("."), repeat(DIGIT, 1, FRACTION))


def between(low: str, high: str) -> Piece:
    """All digit strings of the same length from ``low`` to ``high``."""
    if set(low) <= {"0"} and set(high) <= {"9"}:  # without this, three branches a digit: 3⁹ pieces
        return repeat(DIGIT, len(low), len(low))
    first, last, rest = low[0], high[0], len(low) - 1
    if first == last:
        return sequence(word(first), between(low[1:], high[1:]))
    parts = [sequence(word(first), between(low[1:], "9" * rest)), sequence(word(last), between("0" * rest, high[1:]))]
    if ord(last) - ord(first) > 1:
        parts.append(sequence(byte_range(ord(first) + 1, ord(last) - 1), repeat(DIGIT, rest, rest)))
    return choice(*parts)


def naturals(low: int, high: int) -> Piece:
    """The numbers from ``low`` ≥ 0 to ``high``, without leading zeros; one length after the other."""
    parts = []
    for length in range(len(str(low)), len(str(high)) + 1):
        smallest = max(low, 10 ** (length - 1) if length > 1 else 0)
        parts.append(between(str(smallest), str(min(high, 10**length - 1))))
    return choice(*parts)


def whole(low: int, high: int) -> list[Piece]:
    """The integers from ``low`` to ``high`` as at most two pieces, the negative ones and the others."""
    parts = [naturals(max(low, 0), high)] if high >= 0 else []
    if low < 0:
        parts.append(sequence(word("-"), naturals(max(1, -high), -low)))
    return parts


def _integer(schema: Schema) -> Piece:
    if not schema.keys() & {"minimum", "maximum"}:
        return _free(NOTHING)
    low, high = math.ceil(schema.get("minimum", 1 - 10**WHOLE)), math.floor(schema.get("maximum", 10**WHOLE - 1))
    _sane(low, high, "integer")
    return choice(*whole(low, high))


def _free(tail: Piece) -> Piece:
    """Any number of the usual size, and what may follow it."""
    digits = choice(word("0"), sequence(NONZERO, repeat(DIGIT, 0, WHOLE - 1)))
    return sequence(choice(NOTHING, word("-")), digits, tail)


def _number(schema: Schema) -> Piece:
    """An integer within the range, or one with decimals whose neighbours are both within it."""
    if not schema.keys() & {"minimum", "maximum"}:
        return _free(choice(NOTHING, DECIMALS))
    low, high = schema.get("minimum", 1 - 10**WHOLE), schema.get("maximum", 10**WHOLE - 1)
    parts = whole(math.ceil(low), math.floor(high)) if math.ceil(low) <= math.floor(high) else []
    if (bottom := max(math.ceil(low), 0)) < math.floor(high):
        parts.append(sequence(naturals(bottom, math.floor(high) - 1), DECIMALS))
    if (top := max(math.ceil(-high), 0)) < math.floor(-low):
        parts.append(sequence(word("-"), naturals(top, math.floor(-low) - 1), DECIMALS))
    if not parts:
        raise Unsupported(f"No number of the grammar lies between {low} and {high}.")
    return choice(*parts)


# ---- arrays and objects ----
def _array(schema: Schema) -> Piece:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    _sane(least, most, "array")
    return sequence(word("["), _listed(value(schema.get("items", {"type": "string"})), least, most), word("]"))


def _listed(item: Piece, least: int, most: int | None) -> Piece:
    """``least`` to ``most`` items with commas between them."""
    if most == 0:
        return NOTHING
    some = sequence(item, repeat(sequence(word(", "), item), max(least - 1, 0), None if most is None else most - 1))
    return some if least else choice(NOTHING, some)


def _object(schema: Schema) -> Piece:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if missing := set(schema.get("required", ())) - properties.keys():
        raise Unsupported(f"The required property {sorted(missing)[0]!r} has no schema.")
    if not properties:
        extra = schema.get("additionalProperties", True)
        if extra is False:
            return word("{}")
        inner = value(extra) if isinstance(extra, Mapping) else choice(*map(value, SCALARS))
        entry = sequence(_string({"minLength": 1}), word(": "), inner)
        return sequence(word("{"), _listed(entry, 0, None), word("}"))
    required = set(schema.get("required", ()))
    pieces = [(sequence(word(f"{dumps(name)}: "), value(part)), name in required) for name, part in properties.items()]
    return sequence(word("{"), _entries(pieces))


SCALARS: tuple[Schema, ...] = ({"type": "string"}, {"type": "number"}, {"type": "boolean"})


def _entries(pieces: Sequence[tuple[Piece, bool]]) -> Piece:
    """Properties in order, optional ones skipped or not. Two tails are kept: with an entry before it, and without."""

    def build(builder: Any, after: int) -> int:
        first = later = word("}")(builder, after)
        for piece, required in reversed(pieces):
            here_first = piece(builder, later)
            here_later = word(", ")(builder, piece(builder, later))
            if not required:
                here_first = builder.state(empty=[here_first, first])
                here_later = builder.state(empty=[here_later, later])
            first, later = here_first, here_later
        return first

    return build


def _sane(least: float, most: float | None, what: str) -> None:
    if most is not None and least > most:
        raise Unsupported(f"No {what} is both at least {least} and at most {most}.")


# ---- tool calls ----
def call_schema(functions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A call of one of the functions ({name, parameters}): each name goes with its own arguments only."""
    forms = [
        {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, "arguments": function["parameters"]},
            "required": ["name", "arguments"],
        }
        for function in functions
    ]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}
