"""From an OpenAPI document to tools: the operations that tools.yaml allows, each with one flat schema of arguments."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.tools.config import ApiSource, Rule
from assistant.tools.model import Tool
from assistant.tools.naming import function_name, title
from assistant.tools.openapi_document import BadDocument, Document, Node
from assistant.tools.openapi_schema import Inliner, JsonSchema
from assistant.tools.text import clean, plain

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
READS = frozenset({"GET", "HEAD", "OPTIONS"})
DESCRIPTION = 1_000  # characters of a tool's
# Headers that are ours to set, or that would change where the request goes or how it is read.
RESERVED = frozenset({
    "accept", "authorization", "content-type", "content-length", "cookie", "host", "connection", "transfer-encoding",
    "upgrade", "proxy-authorization", "te", "trailer", "expect", "idempotency-key", "forwarded", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-http-method-override",
})  # fmt: skip
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where an argument goes. ``argument`` is its name for the model, ``name`` that of the API."""

    argument: str
    name: str
    place: str  # path, query, header, or body: a field of it
    style: str = "form"
    explode: bool = True
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """``media``: how it is written. ``whole``: the argument that is all of it; None where each field is one."""

    media: str
    whole: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an API, ready to be called. ``path`` begins with a slash and has ``{names}``."""

    tool: Tool
    identifier: str  # its operationId, or else its method and path
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    rule: Rule
    always: Mapping[str, Any]  # arguments that tools.yaml gives, and no model


class _LeftOut(Exception):
    """The operation cannot be called by a model; the text says why."""


def operations(document: Document, source: ApiSource) -> tuple[list[Operation], list[tuple[int, str]]]:
    """The allowed operations in the document's order, and remarks: (number of the entry, what is wrong with it)."""
    made: list[Operation] = []
    used: set[int] = set()
    remarks: list[tuple[int, str]] = []
    for path, method, node, shared, file in _all(document):
        number = _entry(source.operations, node, method, path)
        if number is None:
            continue
        used.add(number)
        try:
            made.append(_Maker(document, source, source.operations[number]).make(method, path, node, shared, file))
        except (_LeftOut, BadDocument) as error:
            remarks.append((number, f"{method.upper()} {path} is left out: {error}"))
    unused = (number for number in range(len(source.operations)) if number not in used)
    remarks += [(number, f"{source.operations[number].operation} fits no operation of the document")
                for number in unused]  # fmt: skip
    return _with_before(made, source, remarks), remarks


def _with_before(made: list[Operation], source: ApiSource, remarks: list[tuple[int, str]]) -> list[Operation]:
    """Each operation with the name of the tool that reads what it changes, where its rule says which."""
    reads = {name: one.tool.name for one in made if not one.tool.writes for name in (one.identifier, one.tool.call)}
    done = []
    for operation in made:
        before = operation.rule.before
        if before is not None and before not in reads:
            number = source.operations.index(operation.rule)
            remarks.append((number, f"before names {before}, which is none of its operations that read"))
        done.append(replace(operation, tool=replace(operation.tool, before=reads.get(before or "", ""))))
    return done


def _all(document: Document) -> Sequence[tuple[str, str, Node, tuple[Any, ...], Path | None]]:
    found = []
    for path, item in document.root["paths"].items():
        node, file, _ = document.resolve(item, document.path)
        if not isinstance(node, Mapping) or not str(path).startswith("/"):
            continue
        shared = tuple(node["parameters"]) if isinstance(node.get("parameters"), list) else ()
        found += [(str(path), method, node[method], shared, file)
                  for method in METHODS if isinstance(node.get(method), Mapping)]  # fmt: skip
    return found


def _entry(rules: Sequence[Rule], node: Node, method: str, path: str) -> int | None:
    """The number of the entry that allows the operation: one that names it, else the first whose wildcards fit."""
    names = [name for name in (f"{method.upper()} {path}", plain(node.get("operationId"))) if name]
    for number, rule in enumerate(rules):
        if rule.operation in names:
            return number
    for number, rule in enumerate(rules):
        if any(fits(rule.operation, name) for name in names):
            return number
    return None


def fits(pattern: str, name: str) -> bool:
    """``*`` and ``?`` are wildcards. Braces and brackets stand for themselves, since paths have them."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), name) is not None


class _Maker:
    """Makes one operation."""

    def __init__(self, document: Document, source: ApiSource, rule: Rule) -> None:
        self._document = document
        self._source = source
        self._rule = rule
        self._inliner = Inliner(document)
        self._properties: JsonSchema = {}
        self._required: list[str] = []
        self._parameters: list[Parameter] = []
        self._always: dict[str, Any] = {}

    def make(self, method: str, path: str, node: Node, shared: tuple[Any, ...], file: Path | None) -> Operation:
        own = node["parameters"] if isinstance(node.get("parameters"), list) else []
        wanted: dict[tuple[str, str], tuple[Node, Path | None]] = {}
        for entry in (*shared, *own):  # an operation's own parameter takes the place of its path's
            parameter, where, _ = self._document.resolve(entry, file)
            if isinstance(parameter, Mapping) and plain(parameter.get("name")):
                wanted[(plain(parameter.get("in")), plain(parameter["name"]))] = (parameter, where)
        for name in re.findall(r"\{([^{}/]+)\}", path):
            wanted.setdefault(("path", name), ({"name": name, "in": "path", "schema": {"type": "string"}}, file))
        for (place, name), (parameter, where) in wanted.items():
            if place != "path" or f"{{{name}}}" in path:
                self._add_parameter(place, name, parameter, where)
        body = self._add_body(node, file) if method not in ("get", "head", "options") else None
        identifier = plain(node.get("operationId")) or f"{method} {path}"
        keyed = any(place == "header" and name.lower() == "idempotency-key" for place, name in wanted)
        tool = self._tool(method, path, node, identifier, keyed)
        if unknown := [name for name in self._rule.always if name not in self._always]:
            raise _LeftOut(f"always names {unknown[0]}, which is none of its parameters")
        return Operation(
            tool, identifier, method.upper(), path, tuple(self._parameters), body, self._rule, self._always
        )  # fmt: skip

    def _tool(self, method: str, path: str, node: Node, identifier: str, keyed: bool) -> Tool:
        rule, source = self._rule, self._source
        writes = rule.writes if rule.writes is not None else method.upper() not in READS
        approval = next((each for each in (rule.approval, source.approval) if each is not None), writes)
        said = [clean(plain(node.get(key)), DESCRIPTION) for key in ("summary", "description")]
        description = rule.description or ". ".join(text.rstrip(".") for text in dict.fromkeys(said) if text)
        schema: JsonSchema = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            schema["required"] = self._required
        return Tool(
            name=rule.name or function_name(identifier),
            description=clean(description or title(identifier), DESCRIPTION),
            parameters=schema,
            writes=writes,
            source=source.name,
            title=rule.title or clean(plain(node.get("summary")), 80).rstrip(".") or title(identifier),
            approvers=rule.approvers if rule.approvers is not None else source.approvers,
            needs_approval=approval,
            users=rule.users if rule.users is not None else source.users,
            as_asker=bool(source.auth and source.auth.as_asker and not source.auth.as_asker.in_channels),
            call=f"{method.upper()} {path}",
            idempotent=rule.idempotent if rule.idempotent is not None else keyed or method in ("put", "delete"),
        )

    def _add_parameter(self, place: str, name: str, parameter: Node, file: Path | None) -> None:
        required = parameter.get("required") is True or place == "path"
        if place == "cookie" or (place == "header" and name.lower() in RESERVED):
            if required and place == "cookie":
                raise _LeftOut(f"it needs the cookie {name}")
            return
        if place not in ("path", "query", "header"):
            return
        schema, as_json = parameter.get("schema"), False
        content = parameter.get("content")
        if isinstance(content, Mapping) and content:
            media, inner = next(iter(content.items()))
            schema, as_json = inner.get("schema") if isinstance(inner, Mapping) else None, "json" in str(media)
        converted = self._inliner.convert(schema if schema is not None else {"type": "string"}, file)
        if said := clean(plain(parameter.get("description")), 300):
            converted = {**converted, "description": said}
        style = plain(parameter.get("style")) or ("form" if place == "query" else "simple")
        explode = parameter.get("explode")
        argument = self._argument(name, place, converted, required)
        self._parameters.append(
            Parameter(argument, name, place, style, explode if isinstance(explode, bool) else style == "form", as_json)
        )

    def _add_body(self, node: Node, file: Path | None) -> Body | None:
        body, file, _ = self._document.resolve(node.get("requestBody"), file)
        if not isinstance(body, Mapping) or not isinstance(body.get("content"), Mapping):
            return None
        required = body.get("required") is True
        media = _media(body["content"])
        if media is None:
            if required:
                raise _LeftOut(f"its body is {', '.join(map(str, body['content']))}, and only JSON and forms are sent")
            return None
        inner = body["content"][media]
        schema = self._inliner.convert(inner.get("schema", {}) if isinstance(inner, Mapping) else {}, file)
        if not schema.get("properties") or schema.get("type") != "object":
            if FORM in media:
                raise _LeftOut("its form has no fields")
            return Body(media, self._argument("body", "body", schema, required), required)
        for name, child in schema["properties"].items():
            needed = required and name in schema.get("required", ())
            self._parameters.append(Parameter(self._argument(name, "body", child, needed), name, "body"))
        return Body(media, None, required)

    def _argument(self, name: str, place: str, schema: JsonSchema, required: bool) -> str:
        """Adds the argument under a name of its own: ``query_id`` where ``id`` is taken."""
        if name in self._rule.always:
            self._always[name] = self._rule.always[name]
            return name
        argument = name if re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) else function_name(name)
        if argument in self._properties:
            argument = f"{place}_{argument}"
        while argument in self._properties:
            argument += "_"
        self._properties[argument] = schema
        if required:
            self._required.append(argument)
        return argument


def _media(content: Mapping[str, Any]) -> str | None:
    """The media type that is sent: JSON where the API takes it, else a form."""
    kinds = {str(media): str(media).partition(";")[0].strip().lower() for media in content}
    for wanted in (JSON, "+json", "*/*", FORM):
        for media, kind in kinds.items():
            if kind == wanted or (wanted == "+json" and kind.endswith(wanted)):
                return media
    return None
