"""A JSON schema says what a tool or a caller can take: check a value, and bend it where the meaning is beyond doubt.

The idea: validation walks value and schema together and lists every fault with its path, in words that can go back to
the model. Coercion comes before: "5" where an integer is asked is 5, "yes" where a boolean is asked is nothing we
know. It changes a value's form, never invents one: a missing required property stays a fault.

Source: JSON Schema 2020-12, the keywords that function calling uses. A keyword that is not implemented is refused when
the schema is read: a limit that is silently not checked is worse than none. Left out: ``$ref``, ``anyOf`` and its kin,
``format``. Proven against the package ``jsonschema`` on random schemas and values (tests).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ml.week11_guardrails.json_repair import Json, Repaired, Unrepairable, repair

Schema = dict[str, Any]

TYPES: dict[str, Callable[[Json], bool]] = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == int(v),  # 5.0 is an integer
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}
PLAIN_NUMBER = re.compile(r"-?(?:\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.\d{1,15})?")  # 1,000 but not 1,5
IGNORED = {"title", "description", "default", "examples", "$schema", "$id"}  # they check nothing
KNOWN = IGNORED | {
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip


def read_schema(schema: Schema, path: str = "$") -> Schema:
    """``schema``, after a look through it for keywords and types that this lesson does not know."""
    if unknown := set(schema) - KNOWN:
        raise ValueError(f"{path}: the schema's {', '.join(sorted(unknown))} is not implemented")
    if unknown := set(types(schema)) - set(TYPES):
        raise ValueError(f"{path}: there is no type {', '.join(sorted(unknown))}")
    parts = dict(schema.get("properties", {}))
    parts |= {f"({key})": schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)}
    for name, part in parts.items():
        read_schema(part, f"{path}.{name}")
    return schema


def types(schema: Schema) -> list[str]:
    """The types allowed, or none where any is."""
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else list(named)


def same(a: Json, b: Json) -> bool:
    """JSON's equality: 1 equals 1.0, but true does not equal 1 as it does in Python."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def faults(value: Json, schema: Schema, path: str = "$") -> list[str]:
    """Everything about ``value`` that breaks ``schema``, each with its path; empty where it is valid."""
    allowed = types(schema)
    if allowed and not any(TYPES[name](value) for name in allowed):
        return [f"{path} must be {' or '.join(allowed)}, not {json.dumps(value)[:40]}"]
    found = []
    if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
        found.append(f"{path} must be one of {json.dumps(schema['enum'])}, not {json.dumps(value)[:40]}")
    if "const" in schema and not same(value, schema["const"]):
        found.append(f"{path} must be {json.dumps(schema['const'])}")
    if TYPES["number"](value):
        found += _number_faults(value, schema, path)
    if isinstance(value, str):
        found += _size_faults(len(value), schema, "Length", "characters", path)
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{path} must match {schema['pattern']}")
    if isinstance(value, list):
        found += _size_faults(len(value), schema, "Items", "items", path)
        for place, item in enumerate(value):
            found += faults(item, schema.get("items", {}), f"{path}[{place}]")
    if isinstance(value, dict):
        found += _object_faults(value, schema, path)
    return found


def _number_faults(value: float, schema: Schema, path: str) -> list[str]:
    limits = {
        "minimum": (value >= schema.get("minimum", value), "at least"),
        "maximum": (value <= schema.get("maximum", value), "at most"),
        "exclusiveMinimum": (value > schema.get("exclusiveMinimum", value - 1), "more than"),
        "exclusiveMaximum": (value < schema.get("exclusiveMaximum", value + 1), "less than"),
    }
    return [
        f"{path} must be {words} {schema[key]}" for key, (kept, words) in limits.items() if key in schema and not kept
    ]


def _size_faults(size: int, schema: Schema, what: str, unit: str, path: str) -> list[str]:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", size)
    too_few = [f"{path} must have at least {low} {unit}"] if size < low else []
    return too_few + ([f"{path} must have at most {high} {unit}"] if size > high else [])


def _object_faults(value: dict[str, Json], schema: Schema, path: str) -> list[str]:
    found = [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            found += faults(item, properties[name], f"{path}.{name}")
        elif others is False:
            found.append(f"{path}.{name} is not allowed")
        elif isinstance(others, dict):
            found += faults(item, others, f"{path}.{name}")
    return found


# ---- bending ----
def coerce(value: Json, schema: Schema, path: str = "$") -> tuple[Json, list[str]]:
    """``value`` in the form that ``schema`` asks for, and a note for each change. ``faults`` names what stays wrong."""
    allowed = types(schema)
    notes: list[str] = []
    if allowed and not any(TYPES[name](value) for name in allowed):
        for name in allowed:
            bent = _bend(value, name)
            if TYPES[name](bent):
                notes.append(f"{path}: {json.dumps(value)[:40]} read as {name}")
                value = bent
                break
    if isinstance(value, str) and value not in schema.get("enum", [value]):
        close = [c for c in schema["enum"] if isinstance(c, str) and c.casefold() == value.strip().casefold()]
        if len(close) == 1:
            notes.append(f"{path}: {value!r} read as {close[0]!r}")
            value = close[0]
    if isinstance(value, list):
        pairs = [coerce(item, schema.get("items", {}), f"{path}[{place}]") for place, item in enumerate(value)]
        value, notes = [item for item, _ in pairs], notes + [note for _, part in pairs for note in part]
    if isinstance(value, dict):
        value, more = _coerce_object(value, schema, path)
        notes += more
    return value, notes


def _bend(value: Json, name: str) -> Json:
    """``value`` as the type ``name`` where that is only another spelling; else unchanged."""
    if isinstance(value, str):
        text = value.strip()
        if name in ("integer", "number") and PLAIN_NUMBER.fullmatch(text):
            number = float(text.replace(",", ""))
            return int(number) if number == int(number) else number
        if name == "boolean" and text.casefold() in ("true", "false"):
            return text.casefold() == "true"
        if name == "null" and text.casefold() in ("null", "none"):
            return None
    if name == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    return [value] if name == "array" and not isinstance(value, list | dict) and value is not None else value


def _coerce_object(value: dict[str, Json], schema: Schema, path: str) -> tuple[dict[str, Json], list[str]]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    result, notes = {}, []
    for name, item in value.items():
        part = properties.get(name)
        if part is None and name not in required and properties and schema.get("additionalProperties") is False:
            notes.append(f"{path}.{name} dropped: not in the schema")
            continue
        optional = part is not None and name not in required
        if optional and item is None and types(part) and "null" not in types(part):
            notes.append(f"{path}.{name} dropped: null for something optional")
            continue
        result[name], more = coerce(item, part or {}, f"{path}.{name}")
        notes += more
    return result, notes


def read(text: str, schema: Schema) -> Repaired:
    """What a model wrote, as a value that ``schema`` allows, with notes of all that was mended on the way.

    ``Unrepairable`` names every fault that is left, in words that can go back to the model for a second try.
    """
    mended = repair(text)
    value, notes = coerce(mended.value, read_schema(schema))
    if left := faults(value, schema):
        raise Unrepairable("; ".join(left))
    return Repaired(value, (*mended.notes, *notes))
