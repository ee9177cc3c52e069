"""Arguments in addresses, headers and bodies: whatever they are, they arrive as they were and stay in their place."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from assistant.tools.model import BadArguments, arguments_hash
from tests.tools.api import ME, document, get, only, serving, toolbox, write_file

ALPHABET = [*"abcXYZ019", *" /?#&=%+;:@,!$'()*[]{}|\\^~`\"<>.-_", "é", "ß", "日", "😀", "%2e", "%2F", "../", "..", "//"]


def word(random_: random.Random) -> str:
    return "".join(random_.choice(ALPHABET) for _ in range(random_.randint(1, 12)))


def source(url: str) -> dict[str, Any]:
    return {"name": "api", "openapi": "api.yaml", "base_url": f"{url}/base/v1", "operations": ["read"]}


@pytest.mark.parametrize("seed", range(6))
async def test_any_text_arrives_as_it_was_and_never_leaves_its_place(tmp_path: Path, seed: int) -> None:
    """Against a server, by what stood on the wire: the same path, the same values, nothing more."""
    random_ = random.Random(seed)
    string = {"type": "string"}
    write_file(tmp_path, "api.yaml", document({"/a/{one}/b/{two}": get(parameters=[
        {"name": "one", "in": "path", "required": True, "schema": string},
        {"name": "two", "in": "path", "required": True, "schema": string},
        {"name": "q", "in": "query", "schema": string},
        {"name": "many", "in": "query", "schema": {"type": "array", "items": string}},
        {"name": "joined", "in": "query", "explode": False, "schema": {"type": "array", "items": string}},
        {"name": "deep", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
        {"name": "json", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
    ])}))  # fmt: skip
    refused = 0
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        tool = await only(box)
        for _ in range(120):
            one, two, q = word(random_), word(random_), word(random_)
            many, key, inner = [word(random_) for _ in range(3)], word(random_), word(random_)
            arguments = {"one": one, "two": two, "q": q, "many": many, "deep": {key: inner}, "json": {key: inner}}
            calls = len(api.received)
            climbs = any(part in ("", ".", "..") and (part or not value) for value in (one, two)
                         for part in value.replace("\\", "/").split("/"))  # fmt: skip
            if climbs:
                refused += 1
                with pytest.raises(BadArguments, match="path of an address"):
                    await box.call(tool, arguments, ME)
                assert len(api.received) == calls
                continue
            await box.call(tool, arguments, ME)
            parts = urlsplit(api.last.path)
            assert [unquote(part) for part in parts.path.split("/")] == ["", "base", "v1", "a", one, "b", two]
            pairs = parse_qsl(parts.query, keep_blank_values=True)
            assert pairs[:4] == [("q", q), *(("many", item) for item in many)]
            assert pairs[4] == (f"deep[{key}]", inner)
            assert len(pairs) == 6
    assert refused > 0


async def test_styles_of_arrays_and_numbers(tmp_path: Path) -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    write_file(tmp_path, "api.yaml", document({"/x/{ids}": get(parameters=[
        {"name": "ids", "in": "path", "required": True, "schema": numbers},
        {"name": "c", "in": "query", "explode": False, "schema": numbers},
        {"name": "s", "in": "query", "style": "spaceDelimited", "explode": False, "schema": numbers},
        {"name": "p", "in": "query", "style": "pipeDelimited", "explode": False, "schema": numbers},
        {"name": "flag", "in": "query", "schema": {"type": "boolean"}},
        {"name": "n", "in": "query", "schema": {"type": "number"}},
    ])}))  # fmt: skip
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        tool = await only(box)
        await box.call(tool, {"ids": [1, 2], "c": [1, 2], "s": [1, 2], "p": [1, 2], "flag": True, "n": 3.0}, ME)
        assert api.last.path == "/base/v1/x/1%2C2?c=1%2C2&s=1%202&p=1%7C2&flag=true&n=3"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0", "é", "x" * 3_000, "\x7f"])
async def test_a_header_stays_one_header(tmp_path: Path, value: str) -> None:
    write_file(tmp_path, "api.yaml", document({"/x": get(parameters=[
        {"name": "X-Note", "in": "header", "schema": {"type": "string"}}])}))  # fmt: skip
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        tool = await only(box)
        with pytest.raises(BadArguments, match="X-Note"):
            await box.call(tool, {"X-Note": value}, ME)
        assert api.received == []
        await box.call(tool, {"X-Note": "plain: words"}, ME)
        assert api.last.headers["X-Note"] == "plain: words"


@pytest.mark.parametrize("value", ["..", ".", "../x", "a/../../b", "a\\..\\b", ""])
async def test_a_path_cannot_be_climbed(tmp_path: Path, value: str) -> None:
    write_file(tmp_path, "api.yaml", document({"/x/{id}": get()}))
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        with pytest.raises(BadArguments, match="path of an address"):
            await box.call(await only(box), {"id": value}, ME)
        assert api.received == []


async def test_bodies_are_json_or_a_form(tmp_path: Path) -> None:
    thing = {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}}  # fmt: skip
    for media, sent in (
        ("application/json", b'{"name":"a&b","tags":["x","y"]}'),
        ("application/merge-patch+json", b'{"name":"a&b","tags":["x","y"]}'),
        ("application/x-www-form-urlencoded", b"name=a%26b&tags=x&tags=y"),
    ):
        body = {"required": True, "content": {media: {"schema": thing}}}
        write_file(tmp_path, "api.yaml", document({"/x": {"post": {"operationId": "read", "requestBody": body}}}))
        async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
            tool = await only(box)
            arguments = {"name": "a&b", "tags": ["x", "y"]}
            approved = arguments_hash(tool, arguments)
            await box.call(tool, arguments, ME, idempotency_key="k-1", approved=approved)
            assert (api.last.method, api.last.body) == ("POST", sent)
            assert api.last.headers["Content-Type"] == media
            assert api.last.headers["Idempotency-Key"] == "k-1"


async def test_a_body_that_is_no_object_is_one_argument(tmp_path: Path) -> None:
    body = {
        "required": True,
        "content": {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}},
    }
    write_file(tmp_path, "api.yaml", document({"/x": {"put": {"operationId": "read", "requestBody": body}}}))
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        tool = await only(box)
        arguments = {"body": [1, 2]}
        await box.call(tool, arguments, ME, approved=arguments_hash(tool, arguments))
        assert api.last.body == b"[1,2]"
        with pytest.raises(BadArguments, match="body is missing"):
            box.validate(tool, {})


async def test_an_address_that_would_be_too_long_is_not_sent(tmp_path: Path) -> None:
    write_file(tmp_path, "api.yaml", document({"/x": get(parameters=[{"name": "q", "in": "query"}])}))
    async with serving() as api, toolbox(tmp_path, source(api.url)) as box:
        with pytest.raises(BadArguments, match="too long"):
            await box.call(await only(box), {"q": "é" * 2_000}, ME)
        assert api.received == []
