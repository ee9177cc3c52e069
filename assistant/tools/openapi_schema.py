"""From the schemas of an OpenAPI document to JSON schema that a model can be given: whole, without references.

What 3.0 says in its own way (``nullable``, boolean ``exclusiveMinimum``) is said in JSON schema's. A schema that
contains itself is cut where it begins again, and one that unfolds too far is cut where the budget ends: what is cut
lets everything pass, and the API itself still checks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.tools.openapi_document import Document
from assistant.tools.text import clean, plain

MAX_NODES = 1_500  # of one operation's schemas
MAX_DEPTH = 12
MAX_ENUM = 100
DESCRIPTION = 300  # characters
_PLAIN = (
    "type", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
JsonSchema = dict[str, Any]


class Inliner:
    """Converts the schemas of one operation; the budget of nodes is shared among them."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MAX_NODES

    def convert(self, node: Any, file: Path | None, within: tuple[str, ...] = (), depth: int = 0) -> JsonSchema:
        node, file, followed = self._document.resolve(node, file)
        self._left -= 1
        if isinstance(node, bool):
            return {} if node else {"not": {}}
        if not isinstance(node, Mapping):
            return {}
        if depth > MAX_DEPTH or self._left < 0 or set(followed) & set(within):
            kind = {"type": node["type"]} if _sound("type", node.get("type")) else {}
            return {**kind, "description": clean(plain(node.get("title")) or "more of it, as above", DESCRIPTION)}
        within = (*within, *followed)
        schema = _plain(node)
        self._describe(node, schema)
        self._object(node, schema, file, within, depth)
        self._array(node, schema, file, within, depth)
        for key in ("anyOf", "oneOf", "allOf"):
            members = node.get(key)
            if isinstance(members, list) and members:
                schema[key] = [self.convert(member, file, within, depth + 1) for member in members[:50]]
        return _nullable(node, _merged(schema))

    def _describe(self, node: Mapping[str, Any], schema: JsonSchema) -> None:
        if said := clean(plain(node.get("description")), DESCRIPTION):
            schema["description"] = said
        if node.get("default") is not None and _is_scalar(node["default"]):
            schema["default"] = node["default"]
        values = node.get("enum")
        if not isinstance(values, list) or not values or not all(map(_is_scalar, values)):
            return
        if len(values) <= MAX_ENUM:
            schema["enum"] = values
        else:
            some = f"One of {len(values)} values such as {', '.join(str(value) for value in values[:5])}."
            schema["description"] = clean(f"{schema.get('description', '')} {some}", DESCRIPTION * 2)

    def _object(
        self, node: Mapping[str, Any], schema: JsonSchema, file: Path | None, within: tuple[str, ...], depth: int
    ) -> None:
        properties = node.get("properties")
        required = list(dict.fromkeys(name for name in _list(node.get("required")) if isinstance(name, str)))
        if isinstance(properties, Mapping):
            schema.setdefault("type", "object")
            schema["properties"] = {}
            for name, child in properties.items():
                if self._left < 0:
                    break
                target, _, _ = self._document.resolve(child, file)
                if isinstance(target, Mapping) and target.get("readOnly") is True:
                    required = [other for other in required if other != name]
                    continue
                schema["properties"][str(name)] = self.convert(child, file, within, depth + 1)
        if required:
            schema["required"] = required
        more = node.get("additionalProperties")
        if isinstance(more, bool):
            schema["additionalProperties"] = more
        elif isinstance(more, Mapping):
            schema["additionalProperties"] = self.convert(more, file, within, depth + 1)

    def _array(
        self, node: Mapping[str, Any], schema: JsonSchema, file: Path | None, within: tuple[str, ...], depth: int
    ) -> None:
        if isinstance(node.get("items"), Mapping | bool):
            schema.setdefault("type", "array")
            schema["items"] = self.convert(node["items"], file, within, depth + 1)
        prefix = node.get("prefixItems")
        if isinstance(prefix, list) and prefix:
            schema["prefixItems"] = [self.convert(item, file, within, depth + 1) for item in prefix[:50]]


def _is_scalar(value: object) -> bool:
    """Text, truth, nothing, or a number that JSON's readers agree on."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return True
    return isinstance(value, int | float) and -(2**63) <= value < 2**63


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(node: Mapping[str, Any]) -> JsonSchema:
    schema = {key: node[key] for key in _PLAIN if key in node and _sound(key, node[key])}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if node.get(exclusive) is True and bound in schema:  # OpenAPI 3.0
            schema[exclusive] = schema.pop(bound)
    return schema


def _sound(key: str, value: object) -> bool:
    """Whether JSON schema allows such a value there; a document that is wrong in this is not to break a call."""
    if key == "const":
        return _is_scalar(value)
    if key == "type":
        kinds = value if isinstance(value, list) else [value]
        return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)
    if key == "pattern":
        return isinstance(value, str) and _compiles(value)
    if key == "format":
        return isinstance(value, str)
    if key == "uniqueItems":
        return isinstance(value, bool)
    number = isinstance(value, int | float) and not isinstance(value, bool) and _is_scalar(value)
    if key.startswith(("minL", "maxL", "minI", "maxI", "minP", "maxP")):
        return number and isinstance(value, int) and value >= 0
    return number and (key != "multipleOf" or float(str(value)) > 0)


def _compiles(pattern: str) -> bool:
    """Other languages' patterns know more than ours; one that cannot be read here is left to the API."""
    try:
        re.compile(pattern[:2_000])
    except (re.error, OverflowError, RecursionError):
        return False
    return len(pattern) <= 2_000


def _merged(schema: JsonSchema) -> JsonSchema:
    """``allOf`` as the one object that it means, where it means one: models understand that better."""
    members = schema.get("allOf")
    if not members:
        return schema
    own = {key: value for key, value in schema.items() if key != "allOf"}
    if len(members) == 1 and set(own) <= {"description", "default"}:  # how 3.0 documents describe a reference
        return {**members[0], **own}
    parts = [own, *members] if own else members
    names = [name for part in parts for name in part.get("properties", {})]
    if not all(_is_plain_object(part) for part in parts) or len(names) != len(set(names)):
        return schema
    merged: JsonSchema = {"type": "object", "properties": {}}
    for part in parts:
        merged["properties"] |= part.get("properties", {})
        if "description" in part:
            merged.setdefault("description", part["description"])
    required = [name for part in parts for name in part.get("required", ())]
    return merged | ({"required": list(dict.fromkeys(required))} if required else {})


def _is_plain_object(schema: JsonSchema) -> bool:
    known = {"type", "properties", "required", "description", "additionalProperties", "default"}
    return set(schema) <= known and schema.get("type", "object") == "object"


def _nullable(node: Mapping[str, Any], schema: JsonSchema) -> JsonSchema:
    if node.get("nullable") is not True:  # OpenAPI 3.0
        return schema
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        return schema
    if isinstance(kind, list) or not any(key in schema for key in ("anyOf", "oneOf", "allOf", "const")):
        if isinstance(kind, list) and "null" not in kind:
            schema["type"] = [*kind, "null"]
        return schema
    description = {"description": schema["description"]} if "description" in schema else {}
    return {**description, "anyOf": [schema, {"type": "null"}]}
