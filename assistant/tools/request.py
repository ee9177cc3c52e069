"""From arguments to a request, purely: every value is escaped for its place, and none can leave it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
from yarl import URL

from assistant.tools.model import Arguments, BadArguments
from assistant.tools.openapi import FORM, JSON, Operation, Parameter

LONGEST_URL = 8_000
LONGEST_HEADER = 2_000
_DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|"}
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """``url`` is encoded already, and is to be sent as it is."""

    method: str
    url: URL
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def build(operation: Operation, base_url: str, arguments: Arguments) -> Request:
    """The request of validated arguments; ``BadArguments`` where a value cannot go where it belongs."""
    arguments = {**arguments, **operation.always}
    path, query, headers, fields = operation.path, [], {}, {}
    for parameter in operation.parameters:
        if parameter.argument not in arguments:
            continue
        value = arguments[parameter.argument]
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", _path_value(parameter, value))
        elif parameter.place == "query":
            query += _query_pairs(parameter, value)
        elif parameter.place == "header":
            headers[parameter.name] = _header_value(parameter, value)
        else:
            fields[parameter.name] = value
    body = _body(operation, fields, arguments)
    if body is not None and operation.body is not None:
        headers["Content-Type"] = JSON if operation.body.media == "*/*" else operation.body.media
    text = base_url.rstrip("/") + _template(path) + ("?" + encode(query) if query else "")
    if len(text) > LONGEST_URL:
        raise BadArguments("The arguments are too long for an address.")
    return Request(operation.method, URL(text, encoded=True), headers, body)


def encode(pairs: Pairs) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def _template(path: str) -> str:
    """The path of the document with what is not allowed in a URL escaped; values are escaped already."""
    return quote(path, safe="/%:@!$&'()*+,;=~-._")


def _path_value(parameter: Parameter, value: Any) -> str:
    text = orjson.dumps(value).decode() if parameter.as_json else _joined(value, ",")
    # Servers and proxies that decode first and tidy up later would take these for a way up.
    if not text or any(part in (".", "..") for part in re.split(r"[/\\]", text)):
        raise BadArguments(f"{parameter.argument} cannot be {text!r}: it stands in the path of an address.")
    return quote(_sayable(parameter, text), safe="")


def _query_pairs(parameter: Parameter, value: Any) -> Pairs:
    name = parameter.name
    if parameter.as_json:
        return [(name, orjson.dumps(value).decode())]
    if isinstance(value, Mapping):
        items = [(str(key), _scalar(inner)) for key, inner in value.items()]
        if parameter.style == "deepObject":
            return [(f"{name}[{key}]", _sayable(parameter, inner)) for key, inner in items]
        return items if parameter.explode else [(name, ",".join(part for item in items for part in item))]
    if isinstance(value, list):
        if parameter.explode and parameter.style == "form":
            return [(name, _sayable(parameter, _scalar(item))) for item in value]
        return [(name, _sayable(parameter, _joined(value, _DELIMITERS.get(parameter.style, ","))))]
    return [(name, _sayable(parameter, _scalar(value)))]


def _header_value(parameter: Parameter, value: Any) -> str:
    """ASCII without line breaks: a value is not to become another header."""
    text = orjson.dumps(value).decode() if parameter.as_json else _joined(value, ",")
    if len(text) > LONGEST_HEADER or not re.fullmatch(r"[\x20-\x7e]*", text):
        raise BadArguments(f"{parameter.argument} must be one line of plain ASCII: it stands in a header.")
    return text.strip()


def _body(operation: Operation, fields: dict[str, Any], arguments: Arguments) -> bytes | None:
    body = operation.body
    if body is None:
        return None
    value: Any = fields
    if body.whole is not None:
        if body.whole not in arguments:
            return None
        value = arguments[body.whole]
    elif not fields and not body.required:
        return None
    if FORM in body.media and isinstance(value, Mapping):
        return encode(_form(value)).encode()
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _form(value: Mapping[str, Any]) -> Pairs:
    pairs: Pairs = []
    for name, inner in value.items():
        items = inner if isinstance(inner, list) else [inner]
        pairs += [(str(name), _scalar(item)) for item in items]
    return pairs


def _joined(value: Any, delimiter: str) -> str:
    if isinstance(value, list):
        return delimiter.join(_scalar(item) for item in value)
    if isinstance(value, Mapping):
        return delimiter.join(part for key, inner in value.items() for part in (str(key), _scalar(inner)))
    return _scalar(value)


def _scalar(value: Any) -> str:
    """As JSON writes it, and text as it is: ``true``, not ``True``; 3, not 3.0."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return orjson.dumps(value).decode()


def _sayable(parameter: Parameter, text: str) -> str:
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise BadArguments(f"{parameter.argument} has a character that cannot stand in an address.")
    return text
