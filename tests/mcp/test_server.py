"""Almanac as an MCP server: the package's own client over a socket and over stdio, under the caller's permissions."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database import access
from assistant.database.access import Holder
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.client import OpenAIModel
from bot.mcp.app import add_mcp
from tests.core.functions_double import says, served
from tests.web.conftest import build
from tests.web.library import ONCALL, ROLLBACK, SECRET, FakeModel, shelve

Connect = Callable[..., Awaitable[str]]

PAULA = Holder("slack:T1:UP", "slack", Audience(frozenset({"everyone", "user:slack:T1:UP", "group:people"})), "en")
BEN = Holder("slack:T1:UB", "slack", Audience.person("slack", "T1:UB"), "en")


@pytest.fixture
async def serve(engine: AsyncEngine, sessions: Sessions, embedder: TransformerEmbedder) -> AsyncIterator[Connect]:
    """Start a bot with ``/mcp``: ``url = await serve(web_token="…")``."""
    await shelve(sessions, embedder, ROLLBACK, ONCALL, SECRET)
    async with AsyncExitStack() as stack:

        async def start(model: FakeModel | None = None, **settings: Any) -> str:
            application = web.Application()
            add_mcp(application, build(engine, sessions, embedder, model or FakeModel(), settings))
            runner = web.AppRunner(application, shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"

        yield start


@asynccontextmanager
async def client(url: str, token: str | None = None) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http, AsyncExitStack() as stack:
        yield await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))


async def key(sessions: Sessions, holder: Holder) -> str:
    async with sessions.begin() as session:
        return await access.create(session, holder)


async def test_the_three_tools_are_there_and_only_read(serve: Connect) -> None:
    async with client(await serve()) as asked:
        tools = (await asked.list_tools()).tools
    assert [tool.name for tool in tools] == ["search", "ask", "get_document"]
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)


async def test_an_answer_comes_with_its_citations_and_its_progress(serve: Connect) -> None:
    stages: list[str | None] = []

    async def progressed(_done: float, _total: float | None, message: str | None) -> None:
        stages.append(message)

    async with client(await serve()) as asked:
        result = await asked.call_tool("ask", {"question": "How do I roll back?"}, progress_callback=progressed)
    assert not result.is_error
    assert result.structured_content["outcome"] == "answered"
    assert result.structured_content["citations"][0]["title"] == "Rolling back"
    assert "[1] Rolling back" in result.content[0].text
    assert stages == ["searching", "writing"]


async def test_an_answer_comes_in_the_format_that_was_asked_for(serve: Connect) -> None:
    schema = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
    asked_for = {"question": "How do I roll back a deployment?", "format": schema}
    async with served() as double:
        model = OpenAIModel(double.settings())
        double.behaviours.append(says('{"sources": [1], "value": {"minutes": 45}}'))
        url = await serve(model)
        async with client(url) as asked:
            result = await asked.call_tool("ask", asked_for)
            wrong = await asked.call_tool("ask", asked_for | {"format": {"type": "array"}})
        await model.close()
    assert result.structured_content["value"] == {"minutes": 45}
    assert '"minutes": 45' in result.content[0].text
    assert "[1] " in result.content[0].text
    assert wrong.is_error
    assert "at its root" in wrong.content[0].text


async def test_a_conversation_goes_on_and_is_nobody_elses(serve: Connect, sessions: Sessions) -> None:
    model = FakeModel()
    url, paula, ben = await serve(model), await key(sessions, PAULA), await key(sessions, BEN)
    async with client(url, paula) as asked:
        first = await asked.call_tool("ask", {"question": "How do I roll back the ledger?"})
        conversation = first.structured_content["conversation"]
        await asked.call_tool("ask", {"question": "And how long may I?", "conversation": conversation})
    assert [turn.question for turn in model.asked[-1].turns] == ["How do I roll back the ledger?"]
    async with client(url, ben) as other:
        await other.call_tool("ask", {"question": "And how long may I roll back?", "conversation": conversation})
    assert model.asked[-1].turns == ()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"query": "salary of a principal engineer"}),
        ("ask", {"question": "What is the salary of a principal engineer?"}),
        ("get_document", {"document": "people/salaries.md"}),
    ],
)
async def test_each_sees_what_its_person_may_read(
    serve: Connect, sessions: Sessions, tool: str, arguments: dict[str, Any]
) -> None:
    url = await serve()
    said = {}
    for holder in (PAULA, BEN):
        async with client(url, await key(sessions, holder)) as asked:
            said[holder.person] = (await asked.call_tool(tool, arguments)).model_dump_json()
    async with client(url) as asked:
        said["anybody"] = (await asked.call_tool(tool, arguments)).model_dump_json()
    assert "123,456" in said[PAULA.person]
    assert "123,456" not in said[BEN.person] + said["anybody"]
    assert "Salaries" not in said[BEN.person] + said["anybody"]


async def test_what_may_not_be_read_looks_like_what_is_not_there(serve: Connect) -> None:
    async with client(await serve()) as asked:
        hidden = await asked.call_tool("get_document", {"document": "people/salaries.md"})
        missing = await asked.call_tool("get_document", {"document": "people/nothing.md"})
    assert hidden.is_error
    assert hidden.content == missing.content


async def test_a_document_is_read_by_id_by_address_and_in_pages(
    serve: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.mcp.tools.PAGE_CHARACTERS", 150)
    async with client(await serve()) as asked:
        found = (await asked.call_tool("search", {"query": "roll back", "limit": 1})).structured_content["hits"][0]
        text, following = "", 0
        for _ in range(10):
            arguments = {"document": found["document_id"], "from_passage": following}
            page = (await asked.call_tool("get_document", arguments)).structured_content
            text, following = text + page["text"], page["next_passage"]
            if following is None:
                break
        whole = await asked.call_tool("get_document", {"document": "https://handbook.example/deploy/rollback/#usual"})
    assert all(passage in text for _, passage in ROLLBACK.passages)
    assert whole.structured_content["document_id"] == found["document_id"]


async def test_filters_are_obeyed_and_wrong_ones_named(serve: Connect) -> None:
    async with client(await serve()) as asked:
        only = await asked.call_tool("search", {"query": "roll back page acknowledged", "title": "Escalation"})
        wrong = await asked.call_tool("search", {"query": "roll back", "after": "yesterday-ish"})
    assert {hit["title"] for hit in only.structured_content["hits"]} == {"Escalation"}
    assert wrong.is_error
    assert "yesterday-ish" in wrong.content[0].text


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("search", {}, "query"),
        ("search", {"query": "x", "limit": 1_000}, "limit"),
        ("ask", {"question": 5}, "question"),
        ("ask", {"question": "x", "model": "gpt"}, "model"),
        ("drop_table", {}, "drop_table"),
    ],
)
async def test_wrong_arguments_are_named(serve: Connect, tool: str, arguments: dict[str, Any], named: str) -> None:
    async with client(await serve()) as asked:
        with pytest.raises(MCPError, match=named):
            await asked.call_tool(tool, arguments)


async def test_without_the_right_key_nobody_comes_in(serve: Connect, sessions: Sessions) -> None:
    url, ben = await serve(web_token="a token of the page"), await key(sessions, BEN)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream"}

    async def status(**more: str) -> int:
        async with aiohttp.ClientSession() as http, http.post(url, json=body, headers={**headers, **more}) as response:
            assert (response.status == 401) == ("WWW-Authenticate" in response.headers)
            return response.status

    assert await status() == 401
    assert await status(Authorization="Bearer alm_wrong") == 401
    assert await status(Authorization="Basic YTpi") == 401
    assert await status(Authorization="Bearer a token of the page") == 200
    assert await status(Authorization=f"Bearer {ben}") == 200
    assert await status(Authorization=f"Bearer {ben}", Origin="https://evil.example") == 403
    async with sessions.begin() as session:
        (mine,) = await access.keys_of(session, BEN.person)
        await access.revoke(session, BEN.person, mine.id)
    assert await status(Authorization=f"Bearer {ben}") == 401


async def test_a_name_that_was_pointed_here_is_not_served_without_a_token(serve: Connect) -> None:
    url = await serve()
    headers = {"Host": "rebound.example", "Accept": "application/json, text/event-stream"}
    async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers) as response:
        assert response.status == 403


async def test_many_ask_at_once(serve: Connect) -> None:
    url = await serve()

    async def ask(n: int) -> str:
        async with client(url) as asked:
            result = await asked.call_tool("ask", {"question": f"How do I roll back, number {n}?"})
            return str(result.structured_content["answer_id"])

    assert len(set(await asyncio.gather(*(ask(n) for n in range(8))))) == 8


async def test_a_client_that_goes_away_stops_the_work(serve: Connect) -> None:
    model = FakeModel("Run ferry rollback [1]. " * 200, pause=0.05)
    url = await serve(model)
    call = {"name": "ask", "arguments": {"question": "How do I roll back?"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"Accept": "application/json, text/event-stream"}
    async with aiohttp.ClientSession() as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5), http.post(url, json=body, headers=headers) as response:
                await response.read()
    async with asyncio.timeout(20):
        await model.stopped.wait()


async def test_over_stdio_everyones_documents_are_served(
    tmp_path: Path, database_url: str, sessions: Sessions, embedder: TransformerEmbedder
) -> None:
    await shelve(sessions, embedder, ROLLBACK, SECRET)
    environment = {**os.environ, "ALMANAC_DATABASE_URL": database_url, "ALMANAC_HOME": str(tmp_path)}
    command = StdioServerParameters(command=sys.executable, args=["-m", "bot.terminal", "mcp"], env=environment)
    async with Client(command) as asked:
        hits = (await asked.call_tool("search", {"query": "roll back the ledger"})).structured_content["hits"]
        hidden = await asked.call_tool("search", {"query": "salary of a principal engineer"})
    assert hits[0]["title"] == "Rolling back"
    assert "123,456" not in json.dumps(hidden.structured_content)
