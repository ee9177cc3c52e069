"""Events as they come, and what becomes of a request whose client goes away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from tests.serving.served import BASE, KEY, Served

MESSAGES: Any = [{"role": "user", "content": "Tell me all of it."}]
LONG = 1_500  # tokens; more than a test waits for


async def chunks(server: Served, **options: Any) -> list[Any]:
    options = {"model": BASE, "messages": MESSAGES, "max_tokens": 24, "temperature": 0, **options}
    return [chunk async for chunk in await server.client.chat.completions.create(stream=True, **options)]


async def test_the_pieces_are_the_whole(server: Served) -> None:
    whole = await server.client.chat.completions.create(model=BASE, messages=MESSAGES, max_tokens=24, temperature=0)
    parts = await chunks(server)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.choices[0].message.content
    assert parts[0].choices[0].delta.role == "assistant"
    assert [part.choices[0].finish_reason for part in parts][-1] == whole.choices[0].finish_reason
    assert len({part.id for part in parts}) == 1
    assert all(part.usage is None for part in parts)
    assert len(parts) > 5


async def test_usage_comes_last_where_it_is_asked_for(server: Served) -> None:
    whole = await server.client.chat.completions.create(model=BASE, messages=MESSAGES, max_tokens=24, temperature=0)
    parts = await chunks(server, stream_options={"include_usage": True})
    assert parts[-1].choices == []
    assert whole.usage is not None
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert parts[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert all(part.usage is None for part in parts[:-1])


async def test_choices_come_side_by_side(server: Served) -> None:
    parts = await chunks(server, n=3, temperature=1.2, seed=5)
    texts = ["", "", ""]
    for part in parts:
        texts[part.choices[0].index] += part.choices[0].delta.content or ""
    whole = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, max_tokens=24, temperature=1.2, seed=5, n=3
    )
    assert texts == [choice.message.content for choice in whole.choices]


async def test_completions_stream_too(server: Served) -> None:
    whole = await server.client.completions.create(model=BASE, prompt="abc", max_tokens=20, temperature=0)
    stream = await server.client.completions.create(model=BASE, prompt="abc", max_tokens=20, temperature=0, stream=True)
    parts = [part.choices[0] async for part in stream]
    assert "".join(part.text for part in parts) == whole.choices[0].text
    assert parts[-1].finish_reason == whole.choices[0].finish_reason


async def test_a_client_that_hangs_up_frees_its_slots(server: Served) -> None:
    before = server.engine.stats()
    stream = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, max_tokens=LONG, temperature=0, n=3, stream=True
    )
    await anext(aiter(stream))
    assert server.engine.stats().running == 3
    await stream.close()
    await server.settled()
    after = server.engine.stats()
    assert after.cancelled - before.cancelled == 3
    assert after.completion_tokens - before.completion_tokens < LONG


async def test_so_does_one_that_waits_for_the_whole(server: Served) -> None:
    before = server.engine.stats()
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"model": BASE, "messages": MESSAGES, "max_tokens": LONG, "temperature": 0}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(20):
        while not server.engine.stats().running:
            await asyncio.sleep(0.01)
    writer.close()
    await server.settled()
    assert server.engine.stats().cancelled - before.cancelled == 1
    assert not await reader.read()


async def test_what_breaks_in_the_middle_is_an_event(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has gone out by then. What went wrong is for the log, and the server serves on."""
    submit = server.engine.submit

    def breaking(request: Any) -> Any:
        return Breaking(submit(request))

    monkeypatch.setattr(server.engine, "submit", breaking)
    stream = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, max_tokens=LONG, temperature=0, stream=True
    )
    with pytest.raises(openai.APIError, match="had an error while it answered") as caught:
        async for _ in stream:
            pass
    assert "secret" not in str(caught.value.body)
    monkeypatch.undo()
    await server.settled()
    assert await chunks(server)


class Breaking:
    """A stream of the engine that fails after its third piece."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces
        self._left = 3

    def __aiter__(self) -> Breaking:
        return self

    async def __anext__(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("a secret of the engine's")
        return await anext(self._pieces)

    def cancel(self) -> None:
        self._pieces.cancel()

    async def aclose(self) -> None:
        await self._pieces.aclose()
