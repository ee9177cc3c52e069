"""Arguments that fit a schema and yet no database: what is wrong is said, and nothing is blamed that is well."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from bot.mcp.tools import NO_DOCUMENT
from bot.web.security import AWAY
from tests.mcp.test_server import Connect, client, serve

__all__ = ["serve"]  # a fixture


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("ask", {"question": "who?", "conversation": "the last one"}, '"conversation" must be a UUID.'),
        ("get_document", {"document": 10**30}, NO_DOCUMENT),
        ("get_document", {"document": -1}, NO_DOCUMENT),
        ("get_document", {"document": "a\0b"}, NO_DOCUMENT),
    ],
)
async def test_what_cannot_be_is_said(serve: Connect, name: str, arguments: dict[str, Any], said: str) -> None:
    async with client(await serve()) as asked:
        result = await asked.call_tool(name, arguments)
    assert result.is_error
    assert result.content[0].text == said  # type: ignore[union-attr]


async def test_a_whole_number_may_be_written_with_a_point(serve: Connect) -> None:
    async with client(await serve()) as asked:
        [hit] = (await asked.call_tool("search", {"query": "rollback", "limit": 1})).structured_content["hits"]  # type: ignore[index]
        page = await asked.call_tool("get_document", {"document": float(hit["document_id"]), "from_passage": 0.0})
    assert not page.is_error
    assert page.structured_content["document_id"] == hit["document_id"]  # type: ignore[index]


@pytest.mark.parametrize("question", ["\\ud800 who?", "\\u0000"])
async def test_half_a_character_is_refused_as_the_callers_fault(serve: Connect, question: str) -> None:
    raw = (
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask", "arguments": {"question": "'
        f'{question}"}}}}}}'
    )
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    async with aiohttp.ClientSession() as http, http.post(await serve(), data=raw, headers=headers) as answer:
        body = await answer.text()
    assert answer.status < 500
    assert AWAY not in body
    assert "went wrong here" not in body
