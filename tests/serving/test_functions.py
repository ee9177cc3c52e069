"""Functions, called through the official client and through the product's own, by a model that knows no such thing."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion

from assistant.models.client import OpenAIModel
from assistant.models.port import Said
from assistant.settings import load_settings
from tests.serving.served import BASE, KEY, Served
from workers.serving.api import ChatMessage, ChatRequest, checked
from workers.serving.functions import Replying, conversation, functions_of

RESTART = {
    "type": "object",
    "properties": {
        "environment": {"$ref": "#/$defs/environment"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["environment", "replicas"],
    "additionalProperties": False,
    "$defs": {"environment": {"type": "string", "enum": ["staging", "production"]}},
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "whoIsOnCall", "description": "Who is on call now."}},
    {"type": "function", "function": {"name": "restart", "description": "Restarts it.", "parameters": RESTART}},
]
MESSAGES: Any = [{"role": "user", "content": "Restart finder"}]


async def asked(server: Served, **options: Any) -> ChatCompletion:
    options = {"messages": MESSAGES, "tools": TOOLS, "temperature": 1.0, "max_tokens": 300, **options}
    done: ChatCompletion = await server.client.chat.completions.create(model=BASE, **options)
    return done


def check(call: Any) -> None:
    arguments = json.loads(call.function.arguments)
    if call.function.name == "restart":
        jsonschema.validate(arguments, RESTART)
    else:
        assert (call.function.name, arguments) == ("whoIsOnCall", {})


async def test_a_named_function_is_called_once_with_arguments_that_fit(server: Served) -> None:
    choice = {"type": "function", "function": {"name": "restart"}}
    done = await asked(server, tool_choice=choice, n=3, seed=1)
    for one in done.choices:
        assert one.finish_reason == "tool_calls"
        assert one.message.content is None
        [call] = one.message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, call.id[:5]) == ("restart", "call_")
        check(call)
    assert len({one.message.tool_calls[0].id for one in done.choices if one.message.tool_calls}) == 3


async def test_some_function_has_to_be_called(server: Served) -> None:
    done = await asked(server, tool_choice="required", parallel_tool_calls=False, n=4, seed=2)
    for one in done.choices:
        [call] = one.message.tool_calls or []
        check(call)


async def test_the_model_may_answer_or_call(server: Served) -> None:
    """Which of both is the model's own choice: a random one takes each now and then."""
    kinds = set()
    for seed in range(8):
        done = await asked(server, seed=seed * 100, n=4, temperature=1.5, max_tokens=200)
        for one in done.choices:
            calls = one.message.tool_calls or []
            for call in calls:
                check(call)
            if calls:
                assert (one.finish_reason, one.message.content) == ("tool_calls", None)
                kinds.add("calls")
            elif one.finish_reason == "stop":
                assert one.message.content
                assert not one.message.content.startswith("{")
                kinds.add("answer")
        if len(kinds) == 2:
            return
    pytest.fail(f"only {kinds}")


async def test_calls_come_in_events_as_in_one_document(server: Served) -> None:
    whole = await asked(server, tool_choice="required", seed=3)
    stream = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, tools=TOOLS, tool_choice="required", temperature=1.0, max_tokens=300, seed=3,
        stream=True,
    )  # fmt: skip
    parts = [part.choices[0] async for part in stream]
    calls = [call for part in parts for call in part.delta.tool_calls or []]
    expected = whole.choices[0].message.tool_calls or []
    assert [call.index for call in calls] == list(range(len(expected)))
    for given, call in zip(calls, expected, strict=True):
        assert given.function is not None
        assert (given.function.name, given.function.arguments) == (call.function.name, call.function.arguments)  # type: ignore[union-attr]
    assert parts[-1].finish_reason == "tool_calls"


async def test_without_a_choice_it_writes_plain_text(server: Served) -> None:
    done = await asked(server, tool_choice="none", temperature=0, max_tokens=10)
    plain = await asked(server, tools=None, temperature=0, max_tokens=10)
    assert done.choices[0].message.content == plain.choices[0].message.content


async def test_the_products_own_client_calls_through_it(server: Served) -> None:
    settings = load_settings(
        llm_base_url=f"{server.url}/v1", llm_api_key=KEY, llm_model=BASE, llm_max_tokens=300, llm_context=2_048
    )
    model = OpenAIModel(settings)
    said = Said("")
    async for piece in model.converse(MESSAGES, TOOLS):
        if isinstance(piece, Said):
            said = piece
    await model.close()
    assert model.calls_functions
    assert said.usage.completion_tokens > 0
    for call in said.calls:
        assert call.error == ""


def test_what_was_called_goes_back_into_the_conversation() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Restart"}, {"type": "text", "text": "finder"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "restart", "arguments": '{"replicas": 2}'}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "It is done."},
        {"role": "user", "content": "Thanks"},
    ]  # fmt: skip
    request = checked(ChatRequest, {"model": "m", "messages": messages, "tools": TOOLS})
    told = conversation(request.messages, functions_of(request))
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert told[0]["content"].startswith("Be brief.\n\nYou reply with one JSON object")
    assert '"restart"' in told[0]["content"]
    assert told[1]["content"] == "Restart\nfinder"
    assert json.loads(told[2]["content"]) == {"calls": [{"name": "restart", "arguments": {"replicas": 2}}]}
    assert told[3]["content"] == "Result of the call: It is done.\n\nThanks"
    assert conversation((ChatMessage(role="user", content="Hi"),), None) == [{"role": "user", "content": "Hi"}]


def test_an_answer_is_read_while_it_is_written() -> None:
    reading = Replying()
    pieces = [reading.feed(piece) for piece in ('{"ans', 'wer":"Line\\', "n \\u00", 'fcber "', "}")]
    assert pieces == ["", "Line", "\n ", "über ", ""]
    assert reading.finish() == ("", ())


def test_a_call_that_was_cut_off_is_none() -> None:
    reading = Replying()
    reading.feed('{"calls":[{"name":"restart","arguments":{"environment":"sta')
    assert reading.finish() == ("", ())


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"of": schema}}
    return schema


@pytest.mark.parametrize("parameters", [nested(60), {"$ref": 5}, {"type": "nothing"}])
async def test_parameters_that_cannot_be_followed_are_the_callers_mistake(
    server: Served, parameters: dict[str, Any]
) -> None:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    schema: Any = {"type": "json_schema", "json_schema": {"name": "look", "schema": parameters}}
    for asked_for in ({"tools": [tool]}, {"response_format": schema}):
        with pytest.raises(openai.BadRequestError):
            await server.client.chat.completions.create(
                model=BASE, messages=[{"role": "user", "content": "Look."}], max_tokens=4, **asked_for
            )
