"""Reads what the API streams, as any client of server-sent events would."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

ROLL_BACK = "How do I roll back a deployment?"


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Name and data of each event; comments are skipped."""
    name = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def ask(client: aiohttp.ClientSession, url: str, question: str = ROLL_BACK, **body: Any) -> list[Any]:
    """All events of one question."""
    async with client.post(f"{url}/api/ask", json={"question": question, **body}) as response:
        assert response.status == 200, await response.text()
        return [event async for event in events(response)]


async def answer(client: aiohttp.ClientSession, url: str, question: str = ROLL_BACK, **body: Any) -> dict[str, Any]:
    """The final answer of one question."""
    name, data = (await ask(client, url, question, **body))[-1]
    assert name == "done"
    return dict(data)


async def refusal(response: aiohttp.ClientResponse, status: int) -> str:
    """The one sentence of a refusal with this status."""
    assert response.status == status, await response.text()
    body = await response.json()
    assert set(body) == {"error"}
    assert body["error"].endswith(".")
    return str(body["error"])


def conversation_id() -> str:
    return str(uuid.uuid4())
