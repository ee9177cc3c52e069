"""From OpenAPI documents to tools: names, words, one flat schema, references within and beside the document."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from assistant.errors import SettingsError
from assistant.tools.model import BadArguments, Tool
from tests.tools.api import ME, document, get, only, serving, toolbox, write_file

COMPONENTS = {
    "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}},
    "schemas": {
        "Colour": {"type": "string", "enum": ["red", "green"], "description": "Its colour."},
        "Part": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {
                "$ref": "#/components/schemas/Part"}}},
        },
        "Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "readOnly": True},
                                                                     "owner": {"type": "string", "nullable": True}}},
    },
}  # fmt: skip


async def tools_of(folder: Path, paths: dict[str, Any], *operations: Any, **more: Any) -> list[Tool]:
    write_file(folder, "api.yaml", document(paths, **more))
    source = {"name": "api", "openapi": "api.yaml", "base_url": "http://127.0.0.1:9", "operations": list(operations)}
    async with toolbox(folder, source) as box:
        return list(await box.tools_for(ME))


async def test_an_operation_becomes_one_function_with_all_its_arguments(tmp_path: Path) -> None:
    post = {"post": {
        "operationId": "paint.thing", "summary": "Paint a thing.", "description": "It takes a day.",
        "parameters": [{"name": "id", "in": "query", "schema": {"type": "string"}},
                       {"name": "X-Reason", "in": "header", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {
            "type": "object", "required": ["id", "colour"], "properties": {
                "id": {"type": "number"}, "colour": {"$ref": "#/components/schemas/Colour"}}}}}},
    }, "parameters": [{"$ref": "#/components/parameters/Id"}]}  # fmt: skip
    (tool,) = await tools_of(tmp_path, {"/things/{id}/paint": post}, "paint.thing", components=COMPONENTS)
    assert tool.name == "paint_thing"
    assert tool.description == "Paint a thing. It takes a day"
    assert (tool.title, tool.call) == ("Paint a thing", "POST /things/{id}/paint")
    assert (tool.writes, tool.needs_approval) == (True, True)
    parameters: Any = tool.parameters
    assert {name: schema.get("type") for name, schema in parameters["properties"].items()} == {
        "id": "integer", "query_id": "string", "X-Reason": "string", "body_id": "number", "colour": "string",
    }  # fmt: skip
    assert parameters["required"] == ["id", "X-Reason", "body_id", "colour"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["colour"] == {
        "type": "string", "enum": ["red", "green"], "description": "Its colour.",
    }  # fmt: skip
    assert tool.function()["function"]["name"] == "paint_thing"


async def test_what_3_0_says_in_its_own_way_is_json_schema(tmp_path: Path) -> None:
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "properties": {
            "size": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            "shade": {"allOf": [{"$ref": "#/components/schemas/Colour"}], "nullable": True, "description": "Shade."},
            "at": {"type": "string", "format": "date", "example": "2026-01-01", "xml": {"name": "a"}}}}],
    }  # fmt: skip
    post = {"post": {"operationId": "make", "requestBody": {"content": {"application/json": {"schema": schema}}}}}
    (tool,) = await tools_of(tmp_path, {"/x": post}, "make", components=COMPONENTS)
    properties: Any = tool.parameters["properties"]
    assert set(properties) == {"owner", "size", "shade", "at"}  # an id that is read-only is not asked for
    assert properties["owner"]["type"] == ["string", "null"]
    assert properties["size"] == {"type": "number", "exclusiveMinimum": 0}
    assert properties["shade"]["enum"] == ["red", "green", None]
    assert properties["shade"]["description"] == "Shade."
    assert properties["at"] == {"type": "string", "format": "date"}
    Draft202012Validator.check_schema(json.loads(json.dumps(tool.parameters)))


async def test_a_schema_that_holds_itself_is_cut(tmp_path: Path) -> None:
    post = {"post": {"operationId": "build", "requestBody": {"content": {"application/json": {"schema": {
        "$ref": "#/components/schemas/Part"}}}}}}  # fmt: skip
    (tool,) = await tools_of(tmp_path, {"/x": post}, "build", components=COMPONENTS)
    properties: Any = tool.parameters["properties"]
    assert properties["parts"] == {"type": "array", "items": {"type": "object", "description": "more of it, as above"}}
    assert "$ref" not in json.dumps(tool.parameters)


async def test_references_lead_to_files_beside_the_document_and_no_further(tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    write_file(folder, "shared/types.json", json.dumps({"Id": {"type": "string", "pattern": "^[a-z]+$"},
                                                        "Both": {"$ref": "#/Id"}}))  # fmt: skip
    reference = {"$ref": "shared/types.json#/Both"}
    write_file(folder, "api.yaml", document({"/x/{id}": get(parameters=[
        {"name": "id", "in": "path", "required": True, "schema": reference}])}))  # fmt: skip
    source = {"name": "api", "openapi": "specs/api.yaml", "base_url": "http://127.0.0.1:9", "operations": ["read"]}
    async with toolbox(tmp_path, source) as box:
        parameters: Any = (await only(box)).parameters
        assert parameters["properties"]["id"] == {"type": "string", "pattern": "^[a-z]+$"}
    write_file(tmp_path, "secret.yaml", {"Id": {"type": "string"}})
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    for outside in ("../secret.yaml#/Id", "link.yaml#/Id", "/etc/passwd#/Id", "https://example.com/x.yaml#/Id",
                    "file:///etc/passwd#/Id", "%2e%2e/secret.yaml#/Id"):  # fmt: skip
        write_file(folder, "api.yaml", document({"/x/{id}": get(parameters=[
            {"name": "id", "in": "path", "required": True, "schema": {"$ref": outside}}])}))  # fmt: skip
        with pytest.raises(SettingsError, match=r"leads out of the document's folder|reference to another place"):
            async with toolbox(tmp_path, source):
                pass


async def test_entries_name_operations_by_id_by_path_or_by_wildcards(tmp_path: Path) -> None:
    paths = {"/a": get("readA"), "/b": get("readB") | {"delete": {"operationId": "dropB"}},
             "/b/{c}": {"get": {"responses": {}}}}  # fmt: skip

    async def names(*entries: Any) -> list[str]:
        return [tool.name for tool in await tools_of(tmp_path, paths, *entries)]

    assert await names("readA", "GET /b") == ["readA", "readB"]
    assert await names("GET *") == ["readA", "readB", "get_b_c"]
    assert await names("GET /b/{c}") == ["get_b_c"]
    tools = await tools_of(tmp_path, paths, "*", {"operation": "dropB", "approval": False, "name": "drop"})
    dropped = next(tool for tool in tools if tool.name == "drop")
    assert (dropped.writes, dropped.needs_approval, dropped.idempotent) == (True, False, True)


async def test_an_entry_that_fits_nothing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        await tools_of(tmp_path, {"/a": get()}, "read", "raed")
    assert re.search(r"tools\.yaml, line \d+: sources\.api\.operations\.1 is wrong: raed fits no op", str(caught.value))


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"requestBody": {"required": True, "content": {"multipart/form-data": {}}}}, "only JSON and forms are sent"),
        ({"parameters": [{"name": "s", "in": "cookie", "required": True}]}, "needs the cookie s"),
        ({"parameters": [{"$ref": "#/nowhere"}]}, "leads nowhere"),
    ],
)
async def test_what_no_model_can_call_is_said(tmp_path: Path, operation: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        await tools_of(tmp_path, {"/a": {"post": {"operationId": "make", **operation}}}, "make")


async def test_headers_that_are_ours_are_no_arguments(tmp_path: Path) -> None:
    headers = ("Authorization", "HOST", "Cookie", "content-length", "Idempotency-Key", "X-Forwarded-For", "X-Mine")
    parameters = [{"name": name, "in": "header", "schema": {"type": "string"}} for name in headers]
    (tool,) = await tools_of(tmp_path, {"/a": get(parameters=parameters)}, "read")
    assert list(tool.parameters["properties"]) == ["X-Mine"]


async def test_two_sources_with_the_same_operation_have_two_names(tmp_path: Path) -> None:
    write_file(tmp_path, "api.yaml", document({"/a": get("read"), "/b": get("x" * 90)}))
    sources = [{"name": name, "openapi": "api.yaml", "base_url": "http://127.0.0.1:9", "operations": ["*"]}
               for name in ("one", "two")]  # fmt: skip
    async with toolbox(tmp_path, *sources) as box:
        names = [tool.name for tool in await box.tools_for(ME)]
    assert names[0] == "read"
    assert names[2] == "two_read"
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)


async def test_what_tools_yaml_gives_always_is_sent_and_nobody_may_choose_it(tmp_path: Path) -> None:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("q", "tenant")]
    write_file(tmp_path, "api.yaml", document({"/find": get(parameters=parameters)}))
    async with serving() as api:
        source = {"name": "api", "openapi": "api.yaml", "base_url": api.url,
                  "operations": [{"operation": "read", "always": {"tenant": "acme"}}]}  # fmt: skip
        async with toolbox(tmp_path, source) as box:
            tool = await only(box)
            assert list(tool.parameters["properties"]) == ["q"]
            await box.call(tool, {"q": "x"}, ME)
            assert api.last.path == "/find?q=x&tenant=acme"
            with pytest.raises(BadArguments, match="tenant is no argument"):
                await box.call(tool, {"q": "x", "tenant": "other"}, ME)


async def test_the_read_before_a_write_is_found_by_name(tmp_path: Path) -> None:
    paths = {"/a": get("readA") | {"post": {"operationId": "writeA", "parameters": [
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}]}}}  # fmt: skip
    _, write = await tools_of(tmp_path, paths, "readA", {"operation": "writeA", "before": "readA"})
    assert (write.before, write.idempotent) == ("readA", True)
    with pytest.raises(SettingsError, match="before names writeA"):
        await tools_of(tmp_path, paths, "readA", {"operation": "writeA", "before": "writeA"})


async def test_a_document_by_url_is_fetched_once_and_its_server_stands_beside_it(tmp_path: Path) -> None:
    async with serving() as api:

        async def answer(request: Any) -> Any:
            from aiohttp import web

            if request.path == "/spec/openapi.json":
                return web.json_response(document({"/ping": get()}, servers=[{"url": "/v2"}]))
            return web.json_response({"pong": request.path})

        api.answer = answer
        source = {"name": "far", "openapi": f"{api.url}/spec/openapi.json", "private": True, "operations": ["read"]}
        async with toolbox(tmp_path, source) as box:
            assert [tool.name for tool in await box.tools_for(ME)] == ["far_read"]
            assert (await box.call(await only(box), {}, ME)).data == {"pong": "/v2/ping"}
            await box.tools_for(ME)
        assert [one.path for one in api.received] == ["/spec/openapi.json", "/v2/ping"]


async def test_a_source_that_is_away_is_left_out_and_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistant.tools.registry.AGAIN", (0.0,))
    write_file(tmp_path, "api.yaml", document({"/a": get("near")}))
    async with serving() as api:

        async def answer(_: Any) -> Any:
            from aiohttp import web

            return web.Response(status=503) if len(api.received) < 3 else web.json_response(document({"/b": get()}))

        api.answer = answer
        far = {"name": "far", "openapi": f"{api.url}/doc", "base_url": api.url, "operations": ["read"]}
        near = {"name": "n", "openapi": "api.yaml", "base_url": api.url, "operations": ["near"]}
        async with toolbox(tmp_path, far, near) as box:
            assert [tool.name for tool in await box.tools_for(ME)] == ["near"]
            assert "far" in box.unreachable[0]
            async with asyncio.timeout(20):
                while len(tools := await box.tools_for(ME)) < 2:  # nobody waits for one that was away before
                    await asyncio.sleep(0.05)
            assert [tool.name for tool in tools] == ["far_read", "near"]
            assert box.unreachable == []


async def test_a_source_that_is_slow_holds_up_nobody_for_long(tmp_path: Path) -> None:
    write_file(tmp_path, "api.yaml", document({"/a": get("near")}))
    async with serving() as api:

        async def answer(_: Any) -> Any:
            await asyncio.sleep(60)

        api.answer = answer
        far = {"name": "far", "openapi": f"{api.url}/doc", "base_url": api.url, "operations": ["read"]}
        near = {"name": "n", "openapi": "api.yaml", "base_url": api.url, "operations": ["near"]}
        async with toolbox(tmp_path, far, near) as box:
            async with asyncio.timeout(20):
                assert [tool.name for tool in await box.all(patience=0.2)] == ["near"]
