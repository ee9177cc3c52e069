"""JSON and YAML. A description of an API is read as such (OpenAPI, Swagger); other data is read for its records.

JSON has no comments and its punctuation says nothing: it becomes headings, tables and "key: value" lines. In YAML the
comments are half of the meaning, so it stays as it is written, cut at its outermost keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import openapi
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.formats import extension_of
from workers.ingestion.parse.outline import outline

_API = re.compile(r"^\s*[\"']?(?:openapi|swagger)[\"']?\s*:", re.MULTILINE)
_KEY = re.compile(r"^([\w$./\"'-][^:#\n]*):(?:\s|$)")
_BLANK = re.compile(r"\s+")
_NAME = re.compile(r"^\s{0,4}name:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
_KIND = re.compile(r"^kind:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


def read(content: bytes, name: str) -> Draft:
    source = decode(content)
    if extension_of(name) in (".yaml", ".yml"):
        return _yaml(source)
    if extension_of(name) in (".jsonl", ".ndjson"):
        return Draft(list(outline(_lines(source))))
    value = _json(source)
    if openapi.is_description(value):
        return openapi.described(value)
    return Draft(list(outline(value)), _stated_title(value))


def _json(source: str) -> Any:
    try:
        return json.loads(source)
    except json.JSONDecodeError as error:
        several = _one_after_another(source) if error.msg == "Extra data" else []
        if several:
            return several
        cut = error.pos >= len(source.rstrip()) - 1
        reason = "it is cut off" if cut else f"line {error.lineno}, column {error.colno}"
        raise DocumentUnreadable(f"the file is not valid JSON: {reason}") from error


def _one_after_another(source: str) -> list[Any]:
    """Records that a program has written behind each other; none where there is anything else between them."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(source):
        try:
            value, at = decoder.raw_decode(source, at)
        except json.JSONDecodeError:
            return []
        if not isinstance(value, dict | list):
            return []
        found.append(value)
        blank = _BLANK.match(source, at)
        at = blank.end() if blank else at
    return found


def _lines(source: str) -> list[Any]:
    found = []
    for number, line in enumerate(source.split("\n"), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise DocumentUnreadable(f"the file is not valid JSON: line {number}") from error
    return found


def _stated_title(value: Any) -> str:
    title = value.get("title") if isinstance(value, dict) else None
    return title if isinstance(title, str) else ""


def _yaml(source: str) -> Draft:
    _check(source)
    if _API.search(source):
        value = yaml.load(source, Loader=yaml.CSafeLoader)
        if openapi.is_description(value):
            return openapi.described(value)
    blocks = [block for document in _documents(source) for block in _sections(document)]
    return Draft(blocks)


def _check(source: str) -> None:
    """Events only: they come one by one, and an alias is not followed, so that a bomb stays as small as its file."""
    try:
        for _ in yaml.parse(source, Loader=yaml.CSafeLoader):
            pass
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if re.search(r"\{\{|\{%", source):  # a template of YAML is text
            return
        place = f": line {mark.line + 1}" if mark is not None else ""
        raise DocumentUnreadable(f"the file is not valid YAML{place}") from error


def _documents(source: str) -> list[str]:
    return [part for part in re.split(r"^---(?=\s|$).*\n?", source, flags=re.MULTILINE) if part.strip()]


def _sections(document: str) -> Iterator[Block]:
    """A heading for each outermost key that holds more than a line, with its lines as they are written."""
    level = 2
    kind = _KIND.search(document)
    if kind:
        named = _NAME.search(document)
        yield Block("heading", f"{kind[1]} {named[1] if named else ''}".strip(), level=2)
        level = 3
    plain: list[str] = []
    for key, lines in _keys(document.split("\n")):
        body = "\n".join(lines).strip("\n")
        if key and len(body.split("\n")) > 3:
            yield from _code(plain)
            plain = []
            yield Block("heading", key, level=level)
            yield Block("code", body)
        else:
            plain += lines
    yield from _code(plain)


def _code(lines: list[str]) -> Iterator[Block]:
    if "".join(lines).strip():
        yield Block("code", "\n".join(lines).strip("\n"))


def _keys(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Outermost keys with their lines; comments go with the key beneath them."""
    key, body, waiting = "", list[str](), list[str]()
    for line in lines:
        match = _KEY.match(line)
        if match:
            if body:
                yield key, body
            key, body, waiting = match[1].strip("\"' "), [*waiting, line], []
        elif line.startswith("#") or (waiting and not line.strip()):
            waiting.append(line)
        else:
            body, waiting = [*body, *waiting, line] if waiting else body, []
            if not body or body[-1] is not line:
                body.append(line)
    if body or waiting:
        yield key, [*body, *waiting]
