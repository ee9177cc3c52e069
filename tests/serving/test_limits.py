"""What is refused: in OpenAI's words and codes, before anything is computed, and with no word of what is inside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from assistant.knowledge.embedding import TransformerEmbedder
from tests.serving.served import BASE, CONTEXT, KEY, Served, served

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
CHAT = {"model": BASE, "messages": MESSAGES}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

WRONG = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 9}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ""}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"response_format": {"type": "yaml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strnig"}}}}, "response_format"),
    ({"tools": [WEATHER, WEATHER]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "time"}}}, "tool_choice"),
    ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
]


async def post(server: Served, path: str, body: Any, key: str | None = KEY) -> tuple[int, dict[str, Any], Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with openai.DefaultAsyncHttpxClient(timeout=30) as http:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        response = await http.post(server.url + path, headers=headers, **content)
        return response.status_code, response.json(), response.headers


@pytest.mark.parametrize(("wrong", "param"), WRONG, ids=lambda value: str(value)[:50])
async def test_a_wrong_field_is_named(server: Served, wrong: dict[str, Any], param: str) -> None:
    before = server.engine.stats().prompt_tokens
    status, said, _ = await post(server, "/v1/chat/completions", CHAT | wrong)
    error = said["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"].endswith(".")
    assert "pydantic" not in error["message"]
    assert server.engine.stats().prompt_tokens == before


async def test_a_schema_that_cannot_be_followed_is_400_where_events_were_asked_for_too(server: Served) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "minProperties": "x"}}}
    status, said, _ = await post(server, "/v1/chat/completions", CHAT | {"response_format": schema, "stream": True})
    assert (status, said["error"]["param"]) == (400, "response_format")
    await server.settled()


@pytest.mark.parametrize("key", [None, "wrong", f"{KEY}x"])
async def test_a_wrong_key_is_401(server: Served, key: str | None) -> None:
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        status, said, headers = await post(server, path, b"no json", key)
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        assert headers["www-authenticate"] == "Bearer"
    with server.sync_client(api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
        await asyncio.to_thread(client.models.list)


async def test_an_unknown_model_is_404(server: Served, embedder: TransformerEmbedder) -> None:
    for name in ("gpt-9", embedder.name):
        with pytest.raises(openai.NotFoundError) as caught:
            await server.client.chat.completions.create(model=name, messages=MESSAGES)
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        await server.client.embeddings.create(model=BASE, input="x")


async def test_a_prompt_that_is_too_long_is_refused_with_its_count(server: Served) -> None:
    long: Any = [{"role": "user", "content": "x" * CONTEXT}]
    with pytest.raises(openai.BadRequestError, match=f"maximum context length is {CONTEXT} tokens") as caught:
        await server.client.chat.completions.create(model=BASE, messages=long, max_tokens=10)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as caught:  # the answer does not fit
        await server.client.completions.create(model=BASE, prompt="x" * 100, max_tokens=CONTEXT)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    unlimited = await server.client.completions.create(model=BASE, prompt="x" * (CONTEXT - 8), max_tokens=8)
    assert unlimited.usage is not None
    assert unlimited.usage.total_tokens <= CONTEXT


async def test_bodies_that_are_none(server: Served) -> None:
    assert (await post(server, "/v1/chat/completions", b"{"))[0] == 400
    assert (await post(server, "/v1/chat/completions", b"[1]"))[0] == 400
    status, said, _ = await post(server, "/v1/chat/completions", b" " * (4 * 1024 * 1024 + 1))
    assert (status, said["error"]["code"]) == (413, "request_too_large")
    assert (await post(server, "/v1/completions", {"model": BASE, "prompt": [999_999]}))[0] == 400
    assert (await post(server, "/v1/completions", {"model": BASE, "prompt": ""}))[0] == 400


async def test_a_full_server_says_when_to_come_again(wide_folder: Path, embedder: TransformerEmbedder) -> None:
    async with served(wide_folder, embedder, slots=1, waiting=1) as server:
        streams = [
            await server.client.chat.completions.create(
                model=BASE, messages=MESSAGES, max_tokens=1_500, temperature=0, stream=True
            )
        ]
        await anext(aiter(streams[0]))
        second = asyncio.create_task(
            server.client.chat.completions.create(model=BASE, messages=MESSAGES, max_tokens=3, temperature=0)
        )
        async with asyncio.timeout(60):
            while not server.engine.stats().waiting:
                await asyncio.sleep(0.01)
        for stream in (False, True):  # the status, also where events were asked for
            with pytest.raises(openai.RateLimitError) as caught:
                await server.client.chat.completions.create(model=BASE, messages=MESSAGES, stream=stream)
            assert caught.value.response.headers["retry-after"] == "1"
            assert caught.value.code == "rate_limit_exceeded"
        with pytest.raises(openai.RateLimitError):  # two answers, of which one might have had a place
            await server.client.chat.completions.create(model=BASE, messages=MESSAGES, n=2)
        await streams[0].close()
        assert (await second).choices[0].message.content is not None
        await server.settled()


async def test_what_breaks_inside_stays_inside(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_request: Any) -> Any:
        raise RuntimeError("/home/somebody/secret.py")

    monkeypatch.setattr(server.engine, "submit", broken)
    status, said, _ = await post(server, "/v1/chat/completions", CHAT)
    assert (status, said["error"]["code"]) == (500, "internal_error")
    assert "secret" not in str(said)


async def test_without_a_key_none_is_asked_for(wide_folder: Path, embedder: TransformerEmbedder) -> None:
    async with served(wide_folder, embedder, key=None) as server:
        assert (await post(server, "/v1/chat/completions", CHAT | {"max_tokens": 2}, None))[0] == 200


async def test_a_server_that_stops_finishes_what_it_began(wide_folder: Path, embedder: TransformerEmbedder) -> None:
    async with served(wide_folder, embedder) as server:
        stream = await server.client.chat.completions.create(
            model=BASE, messages=MESSAGES, max_tokens=200, temperature=1, seed=3, stream=True
        )
        pieces = [await anext(aiter(stream))]
        draining = asyncio.create_task(server.door.drain(30))
        await asyncio.sleep(0)
        status, said, headers = await post(server, "/v1/chat/completions", CHAT)
        assert (status, said["error"]["code"], headers["retry-after"]) == (503, "stopping", "1")
        async with openai.DefaultAsyncHttpxClient() as http:
            assert (await http.get(f"{server.url}/readyz")).status_code == 503
            assert (await http.get(f"{server.url}/healthz")).status_code == 200
        pieces += [piece async for piece in stream]
        assert pieces[-1].choices[0].finish_reason in ("stop", "length")
        assert await draining
