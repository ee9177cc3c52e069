"""Endpoints that speak nearly as OpenAI's does: what they leave out, put in, and do not take, over a real socket."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from assistant.answering.messages import Usage
from assistant.errors import ModelError
from assistant.models.client import OpenAIModel
from assistant.models.events import Thoughts, without_thoughts
from assistant.models.port import Brief, Said, Written
from assistant.settings import Price, Settings
from tests.core.test_model_client import BRIEF, Behaviour, Endpoint, begin, data, endpoint  # noqa: F401 - a fixture

FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
PRICES = {"m": Price(prompt=1.0, completion=2.0)}


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def choices(*found: Any, **more: Any) -> bytes:
    return event({"id": "c", "object": "chat.completion.chunk", "choices": list(found), **more})


def delta(content: Any) -> bytes:
    return choices({"index": 0, "delta": {"content": content}})


RUN, IT = delta("Run "), delta("it.")
DONE = b"data: [DONE]\n\n"
WHOLE = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Run it."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}  # fmt: skip


def sends(*events: bytes) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        response = await begin(request)
        for one in (*events, DONE):
            await response.write(one)
        return response

    return behave


def document(value: Any, status: int = 200) -> Behaviour:
    async def behave(_request: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status)

    return behave


def model_of(double: Endpoint, **more: Any) -> OpenAIModel:
    given = {"llm_base_url": f"{double.url}/v1", "llm_model": "m", "llm_api_key": "k", "llm_prices": PRICES}
    return OpenAIModel(Settings(_env_file=None, **given | more))  # type: ignore[call-arg]


async def said(double: Endpoint, *behaviours: Behaviour) -> tuple[str, Usage]:
    """What is shown and what is counted: the same as an answer and as a step of a conversation."""
    model, conversation = model_of(double), [{"role": "user", "content": "How?"}]
    found = []
    try:
        for stream in (model.write(BRIEF), model.converse(conversation, [FUNCTION])):
            double.behaviours.extend(behaviours)
            shown = ""
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    if isinstance(piece, (Written, Said)):
                        assert piece.text == shown
                        found.append((shown, piece.usage))
                    else:
                        shown += piece
    finally:
        await model.close()
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    "events",
    [
        (RUN, choices({"index": 0, "content_filter_offsets": {}, "finish_reason": None}), IT),  # Azure's filter
        (choices(prompt_filter_results=[]), RUN, IT, choices({"index": 0, "delta": None, "finish_reason": "stop"})),
        (RUN, event({"id": "c", "choices": None}), event({"id": "c"}), event([]), event(5), event(None), IT),
        (b": PROCESSING\r\n\r\n", RUN.replace(b"\n", b"\r\n"), b"event: ping\r\ndata: {}\r\n\r\n", IT),
        (delta([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]), delta([{"type": "text", "text": "Run it."}])),  # noqa: E501
        (RUN, delta(None), delta([{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "it."}])),
        (choices({"index": 0, "delta": {"reasoning": "Hm", "content": None}}), RUN, IT),
        (delta("<thi"), delta("nk>It is"), delta(" so.</think"), delta(">\n"), delta("\nRun "), IT),
    ],
)  # fmt: skip
async def test_what_is_said_is_understood(endpoint: Endpoint, events: tuple[bytes, ...]) -> None:  # noqa: F811
    assert (await said(endpoint, sends(*events)))[0] == "Run it."


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 1_000, "completion_tokens": 10}, Usage(1_000, 10, 0.00102)),
        ({"prompt_tokens": 1_000, "total_tokens": 1_010}, Usage(1_000, 10, 0.00102)),
        ({"prompt_tokens": 1_000.0, "completion_tokens": 10, "prompt_tokens_details": None}, Usage(1_000, 10, 0.00102)),
        ({"prompt_tokens": None, "completion_tokens": None}, Usage()),
        ({"prompt_tokens": "5", "completion_tokens": -1}, Usage()),
        ({}, Usage()),
    ],
)
async def test_what_cannot_be_counted_is_not(endpoint: Endpoint, usage: Any, expected: Usage) -> None:  # noqa: F811
    assert await said(endpoint, sends(RUN, IT, choices(usage=usage))) == ("Run it.", expected)


async def test_a_server_that_does_not_stream_is_understood(endpoint: Endpoint) -> None:  # noqa: F811
    assert await said(endpoint, document(WHOLE)) == ("Run it.", Usage(5, 2, 0.000009))


@pytest.mark.parametrize(
    "behaviour",
    [
        document({"error": {"message": "no"}}),
        document(["no"]),
        sends(event({"object": "error", "message": "no", "code": 400})),
        sends(event({"error": "no"})),
        sends(),
    ],
)
async def test_an_error_under_status_200_is_an_error(endpoint: Endpoint, behaviour: Behaviour) -> None:  # noqa: F811
    model = model_of(endpoint)
    endpoint.behaviours.append(behaviour)
    try:
        with pytest.raises(ModelError):
            await step(model)
    finally:
        await model.close()


def unsupported(name: str, message: str) -> Behaviour:
    return document({"error": {"message": message, "param": name, "code": "unsupported_parameter"}}, 400)


async def test_what_a_model_does_not_take_is_sent_as_it_takes_it_or_not_at_all(endpoint: Endpoint) -> None:  # noqa: F811
    """OpenAI's models that think, and servers that check every name."""
    model = model_of(endpoint)
    endpoint.behaviours.extend([
        unsupported("max_tokens", "Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead."),
        unsupported("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        document({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
                              "msg": "Extra inputs are not permitted"}]}, 422),
        sends(RUN, IT), sends(RUN, IT),
    ])  # fmt: skip
    try:
        for _ in range(2):
            assert await whole(model, BRIEF) == "Run it."
    finally:
        await model.close()
    assert len(endpoint.requests) == 5  # the second question is asked as is known by then
    for asked in endpoint.requests[-2:]:
        assert asked["max_completion_tokens"] == Settings(_env_file=None).answer_tokens  # type: ignore[call-arg]
        assert not asked.keys() & {"max_tokens", "temperature", "stream_options"}


async def test_a_limit_that_is_too_high_is_no_name_that_is_unknown(endpoint: Endpoint) -> None:  # noqa: F811
    model = model_of(endpoint)
    endpoint.behaviours.append(
        document({"error": {"message": "max_tokens is too large: 9", "param": "max_tokens"}}, 400)
    )
    try:
        with pytest.raises(ModelError):
            await whole(model, BRIEF)
    finally:
        await model.close()
    assert len(endpoint.requests) == 1


async def test_each_of_several_answers_is_drawn_with_a_seed_of_its_own(endpoint: Endpoint) -> None:  # noqa: F811
    model = model_of(endpoint)
    endpoint.behaviours.extend([sends(RUN, IT)] * 2)
    try:
        for variant in (0, 3):
            assert await whole(model, replace(BRIEF, variant=variant)) == "Run it."
    finally:
        await model.close()
    likeliest, drawn = endpoint.requests
    assert likeliest["temperature"] == 0
    assert drawn["temperature"] > 0
    assert drawn["seed"] == 3


async def step(model: OpenAIModel) -> None:
    async with aclosing(model.converse([{"role": "user", "content": "How?"}], [FUNCTION])) as pieces:
        async for _ in pieces:
            pass


async def whole(model: OpenAIModel, brief: Brief) -> str:
    async with aclosing(model.write(brief)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                return piece.text
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"), ("\n<think>\n</think>\n\nb <think>c</think>", "b <think>c</think>"),
        (" <thin", " <thin"), ("<think>cut off", ""), ("a < b", "a < b"), ("<", "<"), ("", ""), ("  b", "  b"),
    ],
)  # fmt: skip
def test_only_a_thought_that_comes_first_is_left_out(text: str, left: str) -> None:
    assert without_thoughts(text) == left
    thoughts = Thoughts()
    assert "".join(map(thoughts.feed, text)) + thoughts.rest() == left
