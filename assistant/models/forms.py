"""A value under a schema, and what it rests on: ``{"sources": [1, 3], "value": {…}}``, or null where nothing answers.

The schema of the reply is built around that of the value, whose references to its own parts are moved along with it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from assistant.guardrails.formats import LISTED, NAMED, SINGLE, Schema, parsed

MOST_SOURCES = 10
KEPT = 256  # schemas that an endpoint refused
_PLACE = "#/properties/value/anyOf/0"
_SHARED = ("$defs", "definitions")  # endpoints look for them at the root


@dataclass(frozen=True, slots=True)
class Reply:
    """``value`` is None where the passages do not answer. ``problem`` says, in a sentence, why there is no reply."""

    value: Any = None
    sources: tuple[int, ...] = ()
    problem: str = ""


def response_format(schema: Schema) -> dict[str, Any]:
    """The request's ``response_format`` for a value of this schema."""
    own = moved(schema, _PLACE, stays=_SHARED)
    value = {name: part for name, part in own.items() if name not in (*_SHARED, "$schema")}
    number = {"type": "integer", "minimum": 1}
    reply = {
        "type": "object",
        "properties": {
            "sources": {"type": "array", "items": number, "maxItems": MOST_SOURCES},
            "value": {"anyOf": [value, {"type": "null"}]},
        },
        "required": ["sources", "value"],
        "additionalProperties": False,
        **{name: own[name] for name in _SHARED if name in own},
    }
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": reply}}


def read(text: str) -> Reply:
    """A model's reply. Whether the value fits is for its format to say."""
    found = parsed(text)
    if not found.fits:
        return Reply(problem=found.problem)
    if not isinstance(found.value, dict) or "value" not in found.value:
        return Reply(problem='it is no object with "sources" and "value".')
    sources = found.value.get("sources")
    numbers = (
        [n for n in sources if isinstance(n, int) and not isinstance(n, bool)] if isinstance(sources, list) else []
    )
    return Reply(found.value["value"], tuple(dict.fromkeys(numbers)))


def moved(schema: Any, place: str, stays: Sequence[str] = ()) -> Any:
    """The schema with its references as they are named where it lies at ``place`` of another (``#/properties/…``).

    Those to the parts named in ``stays`` are left: these lie at the root of the other, too.
    """
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for keyword, part in schema.items():
        if keyword == "$ref" and isinstance(part, str) and not part.startswith(tuple(f"#/{name}/" for name in stays)):
            result[keyword] = place + part.removeprefix("#")
        elif keyword in NAMED and isinstance(part, Mapping):
            result[keyword] = {name: moved(one, place, stays) for name, one in part.items()}
        elif keyword in LISTED and isinstance(part, list):
            result[keyword] = [moved(one, place, stays) for one in part]
        elif keyword in SINGLE:
            result[keyword] = moved(part, place, stays)
        else:
            result[keyword] = part
    return result


class RefusedSchemas:
    """Which schemas an endpoint did not take: some know none, and some not every keyword."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def add(self, schema: Schema) -> None:
        self._seen[_digest(schema)] = None
        while len(self._seen) > KEPT:
            self._seen.popitem(last=False)

    def __contains__(self, schema: Schema) -> bool:
        return _digest(schema) in self._seen


def _digest(schema: Schema) -> bytes:
    return hashlib.sha256(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).digest()
