"""JSON Schema: what a tool says about its arguments, and the check that stands between a model and a function.

Idea.    A schema is a predicate written as data. Each keyword looks at one property of the value and ignores values of
         other types ("minimum" says nothing about a string), and a value is valid when no keyword objects.
Source.  JSON Schema, draft 2020-12, the validation vocabulary.
Left out. ``$ref`` beyond the same document, ``patternProperties``, ``if``/``then``, ``multipleOf``, formats. A
         keyword that is not known raises ``UnknownKeyword`` when the schema is checked: a schema that promises more
         than is checked is worse than none. Annotations (title, description, default, …) promise nothing and pass.

``problems`` gives every objection with the place it is about, in words that can be handed to a model as they are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "format",
    "$schema",
    "$id",
    "$defs",
    "optional",
}


class UnknownKeyword(ValueError):
    """The schema uses a keyword that this validator does not check."""


@dataclass(frozen=True)
class Problem:
    """One objection: ``place`` is a path such as ``stops[2].city`` ("" is the whole value)."""

    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place or 'the value'} {self.words}"


def is_integer(value: object) -> bool:
    """1 and 1.0 are integers for JSON Schema; true is not, although Python's bool is an int."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def same(one: Any, other: Any) -> bool:
    """Equality as JSON means it: 1 is 1.0, but true is not 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def problems(value: Any, schema: Schema | bool, root: Schema | None = None, place: str = "") -> Iterator[Problem]:
    """Every objection of ``schema`` to ``value``; none means valid. Raises UnknownKeyword."""
    if isinstance(schema, bool):
        if not schema:
            yield Problem(place, "is not allowed")
        return
    root = schema if root is None else root
    for keyword, rule in schema.items():
        if keyword in ANNOTATIONS:
            continue
        check = KEYWORDS.get(keyword)
        if check is None:
            raise UnknownKeyword(f"{keyword!r} is not checked by this validator.")
        yield from check(value, rule, schema, root, place)


def valid(value: Any, schema: Schema | bool) -> bool:
    """Whether nothing objects."""
    return next(problems(value, schema), None) is None


def explain(value: Any, schema: Schema) -> str:
    """All objections in one line for a model, or "" where there is none."""
    return "; ".join(map(str, problems(value, schema)))


# ---- the keywords: (value, the keyword's rule, the schema around it, the whole schema, the place) -> objections ----
Check = Callable[[Any, Any, Schema, Schema, str], Iterator[Problem]]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _type(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    names = [rule] if isinstance(rule, str) else list(rule)
    if unknown := [name for name in names if name not in TYPES]:
        raise UnknownKeyword(f"The type {unknown[0]!r} does not exist in JSON Schema.")
    if not any(TYPES[name](value) for name in names):
        yield Problem(place, f"must be of type {' or '.join(names)}, not {_short(value)}")


def _enum(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if not any(same(value, allowed) for allowed in rule):
        yield Problem(place, f"must be one of {_short(list(rule))}, not {_short(value)}")


def _const(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if not same(value, rule):
        yield Problem(place, f"must be {_short(rule)}, not {_short(value)}")


def _bound(objects: Callable[[float, float], bool], words: str) -> Check:
    def check(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
        if TYPES["number"](value) and not math.isnan(value) and objects(value, rule):
            yield Problem(place, f"must be {words} {rule}, not {_short(value)}")

    return check


def _size(kind: type, objects: Callable[[int, int], bool], words: str) -> Check:
    def check(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
        if isinstance(value, kind) and objects(len(value), rule):  # a string's length counts code points, not bytes
            yield Problem(place, f"must have {words.format(rule)}, not {len(value)}")

    return check


def _pattern(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if isinstance(value, str) and not re.search(rule, value):  # found anywhere: the schema's ^ and $ bind it
        yield Problem(place, f"must match {rule}, not {_short(value)}")


def _unique(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if rule and isinstance(value, list) and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
        yield Problem(place, "must not repeat an item")


def _properties(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    for name, part in rule.items() if isinstance(value, dict) else ():
        if name in value:
            yield from problems(value[name], part, root, f"{place}.{name}" if place else name)


def _required(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    for name in rule if isinstance(value, dict) else ():
        if name not in value:
            yield Problem(f"{place}.{name}" if place else name, "is missing")


def _additional(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for name in value.keys() - known.keys():
        inner = f"{place}.{name}" if place else name
        if rule is False:
            listed = ", ".join(known) or "none"
            yield Problem(inner, f"is not a known argument (known: {listed})")
        else:
            yield from problems(value[name], rule, root, inner)


def _items(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from problems(item, rule, root, f"{place}[{index}]")


def _passing(value: Any, rule: Sequence[Schema], root: Schema) -> int:
    return sum(next(problems(value, part, root), None) is None for part in rule)


def _any_of(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if not _passing(value, rule, root):
        first = [str(next(problems(value, part, root, place))) for part in rule]
        yield Problem(place, f"fits none of {len(first)} forms ({' / '.join(first)})")


def _one_of(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if (fitting := _passing(value, rule, root)) != 1:
        yield Problem(place, f"must fit exactly one of {len(rule)} forms, and fits {fitting}")


def _all_of(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    for part in rule:
        yield from problems(value, part, root, place)


def _not(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    if next(problems(value, rule, root), None) is None:
        yield Problem(place, "has a form that is excluded")


def _ref(value: Any, rule: Any, schema: Schema, root: Schema, place: str) -> Iterator[Problem]:
    yield from problems(value, resolve(rule, root), root, place)


def resolve(reference: str, root: Schema) -> Any:
    """The part of ``root`` that ``#/$defs/name`` names. Raises UnknownKeyword for a reference to another document."""
    if not reference.startswith("#"):
        raise UnknownKeyword(f"{reference!r} refers to another document.")
    part: Any = root
    for key in reference.removeprefix("#").split("/")[1:]:
        part = part[key.replace("~1", "/").replace("~0", "~")]
    return part


KEYWORDS: dict[str, Check] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _bound(lambda value, rule: value < rule, "at least"),
    "maximum": _bound(lambda value, rule: value > rule, "at most"),
    "exclusiveMinimum": _bound(lambda value, rule: value <= rule, "more than"),
    "exclusiveMaximum": _bound(lambda value, rule: value >= rule, "less than"),
    "minLength": _size(str, lambda size, rule: size < rule, "at least {} characters"),
    "maxLength": _size(str, lambda size, rule: size > rule, "at most {} characters"),
    "minItems": _size(list, lambda size, rule: size < rule, "at least {} items"),
    "maxItems": _size(list, lambda size, rule: size > rule, "at most {} items"),
    "minProperties": _size(dict, lambda size, rule: size < rule, "at least {} entries"),
    "maxProperties": _size(dict, lambda size, rule: size > rule, "at most {} entries"),
    "pattern": _pattern,
    "uniqueItems": _unique,
    "properties": _properties,
    "required": _required,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "not": _not,
    "$ref": _ref,
}
