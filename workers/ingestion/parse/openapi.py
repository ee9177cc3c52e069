"""OpenAPI 3 and Swagger 2: a section per operation with its parameters, bodies and answers; one per schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assistant.knowledge.documents import Block
from workers.ingestion.parse import markdown
from workers.ingestion.parse.draft import Draft, slug
from workers.ingestion.parse.outline import outline, shown

METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
_MAX_REFERENCES = 20
_MAX_FIELDS = 2_000

Node = dict[str, Any]


def is_description(value: Any) -> bool:
    return (
        isinstance(value, dict) and ("openapi" in value or "swagger" in value) and isinstance(value.get("info"), dict)
    )


def described(root: Node) -> Draft:
    info = root["info"]
    version = shown(info.get("version"))
    return Draft(list(_Api(root).blocks()), shown(info.get("title")), "", {"version": version} if version else {})


class _Api:
    def __init__(self, root: Node) -> None:
        self._root = root
        self._anchors: dict[str, int] = {}

    def blocks(self) -> Iterator[Block]:
        info = self._root["info"]
        if info.get("version"):
            yield Block("paragraph", f"Version {shown(info['version'])}")
        yield from self._prose(info.get("description"))
        for server in _list(self._root.get("servers")):
            yield Block("list_item", _sentence(f"Server: {server.get('url', '')}", server.get("description")))
        if self._root.get("host"):
            yield Block("list_item", f"Server: {self._root['host']}{self._root.get('basePath') or ''}")
        yield from self._security()
        for path, item in _map(self._root.get("paths")).items():
            shared = _list(_map(item).get("parameters"))
            for method in METHODS:
                if isinstance(_map(item).get(method), dict):
                    yield from self._operation(str(path), method, item[method], shared)
        yield from self._schemas()

    def _prose(self, source: object) -> Iterator[Block]:
        for block in markdown.blocks_of(source, {}) if isinstance(source, str) else ():
            yield Block("paragraph", block.text) if block.kind == "heading" else block

    def _security(self) -> Iterator[Block]:
        schemes = _map(
            _map(self._root.get("components")).get("securitySchemes") or self._root.get("securityDefinitions")
        )
        for name, scheme in schemes.items():
            found = _map(scheme)
            how = " ".join(shown(found.get(key)) for key in ("type", "scheme", "in", "name") if found.get(key))
            yield Block("list_item", _sentence(f"Authentication {name}: {how}", found.get("description")))

    def _operation(self, path: str, method: str, node: Node, shared: list[Node]) -> Iterator[Block]:
        title = f"{method.upper()} {path}"
        yield Block("heading", title, level=2, anchor=slug(shown(node.get("operationId")) or title, self._anchors))
        summary = shown(node.get("summary"))
        notes = ["deprecated"] if node.get("deprecated") else []
        notes += [f"tags: {shown(node['tags'])}"] if node.get("tags") else []
        notes += [f"operation: {node['operationId']}"] if node.get("operationId") else []
        yield Block("paragraph", " ".join(filter(None, [summary, f"({'; '.join(notes)})" if notes else ""])))
        yield from self._prose(node.get("description"))
        yield from self._parameters([*shared, *_list(node.get("parameters"))])
        body = self._resolved(node.get("requestBody"))
        for kind, media in _map(body.get("content")).items():
            need = ", required" if body.get("required") else ""
            yield Block("paragraph", _sentence(f"Request body ({kind}{need}):", body.get("description")))
            yield from self._fields(_map(media).get("schema"))
        yield from self._responses(_map(node.get("responses")))

    def _parameters(self, found: list[Node]) -> Iterator[Block]:
        rows = [("Parameter", "In", "Type", "Required", "Description")]
        for parameter in map(self._resolved, found):
            if parameter.get("in") == "body":
                yield Block("paragraph", _sentence("Request body:", parameter.get("description")))
                yield from self._fields(parameter.get("schema"))
                continue
            need = "yes" if parameter.get("required") else "no"
            kind = self._type(parameter.get("schema") or parameter)
            place, about = shown(parameter.get("in")), shown(parameter.get("description"))
            rows.append((shown(parameter.get("name")), place, kind, need, about))
        if len(rows) > 1:
            yield Block("table", rows=tuple(rows))

    def _responses(self, responses: Node) -> Iterator[Block]:
        rows = [("Response", "Description", "Body")]
        for code, response in responses.items():
            found = self._resolved(response)
            schemas = [_map(media).get("schema") for media in _map(found.get("content")).values()] or [
                found.get("schema")
            ]
            body = ", ".join(dict.fromkeys(self._type(schema) for schema in schemas if schema))
            rows.append((str(code), shown(found.get("description")), body))
        if len(rows) > 1:
            yield Block("table", rows=tuple(rows))

    def _schemas(self) -> Iterator[Block]:
        schemas = _map(_map(self._root.get("components")).get("schemas") or self._root.get("definitions"))
        for name, schema in schemas.items():
            yield Block("heading", f"Schema {name}", level=2, anchor=slug(f"schema-{name}", self._anchors))
            yield from self._prose(_map(schema).get("description"))
            yield from self._fields(schema)

    def _fields(self, schema: object) -> Iterator[Block]:
        """A row per property, those of ``allOf`` included; another type is one line."""
        found = self._resolved(schema)
        parts = [found, *map(self._resolved, _list(found.get("allOf")))]
        required = {name for part in parts for name in (part.get("required") or ()) if isinstance(name, str)}
        rows = [("Field", "Type", "Required", "Description")]
        for part in parts:
            for name, field in _map(part.get("properties")).items():
                about = shown(_map(field).get("description"))
                rows.append((str(name), self._type(field), "yes" if name in required else "no", about))
        if len(rows) > 1:
            yield Block("table", rows=tuple(rows[:_MAX_FIELDS]))
        elif found:
            yield Block("list_item", f"Type: {self._type(schema)}")
        if found.get("example") is not None:
            yield from outline({"example": found["example"]})

    def _type(self, schema: object, depth: int = 0) -> str:
        """``string (date-time)``, ``array of Pet``, ``"a" or "b"``."""
        node = _map(schema)
        if isinstance(node.get("$ref"), str):
            return str(node["$ref"].rsplit("/", 1)[-1])
        if depth > 5:
            return "object"
        for key, word in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
            if isinstance(node.get(key), list):
                return word.join(self._type(option, depth + 1) for option in node[key][:20])
        if node.get("type") == "array":
            return f"array of {self._type(node.get('items'), depth + 1) or 'anything'}"
        if isinstance(node.get("enum"), list):
            return "one of " + ", ".join(shown(option) for option in node["enum"][:50])
        form = f" ({shown(node['format'])})" if node.get("format") else ""
        default = f", default {shown(node['default'])}" if node.get("default") is not None else ""
        return f"{shown(node.get('type'))}{form}{default}"

    def _resolved(self, node: object) -> Node:
        """What a reference within the file points at; one that points in a circle or elsewhere is empty."""
        found = _map(node)
        for _ in range(_MAX_REFERENCES):
            reference = found.get("$ref")
            if not isinstance(reference, str):
                return found
            found = self._at(reference)
        return {}

    def _at(self, reference: str) -> Node:
        node: object = self._root
        if not reference.startswith("#/"):
            return {}
        for step in reference[2:].split("/"):
            node = _map(node).get(step.replace("~1", "/").replace("~0", "~"))
        return _map(node)


def _map(value: object) -> Node:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Node]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _sentence(text: str, more: object) -> str:
    return f"{text} {more}" if isinstance(more, str) and more else text
