"""Conversations with functions, against a server that refuses what OpenAI's API refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from assistant.answering.messages import Turn, Usage
from assistant.errors import AlmanacError, ModelError, ModelTimeout
from assistant.models import constrained
from assistant.models.client import OpenAIModel
from assistant.models.functions import asked_for, choose_calls, read, result, with_portable_names
from assistant.models.port import Brief, Call, Said
from assistant.models.pricing import most_tokens
from tests.core.functions_double import Behaviour, Double, call, calls, event, refuses, says, served, streams
from tests.core.parts import hit

ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who is on call for ledger?"}]


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"{name} it", "parameters": schema}}


ON_CALL = function("who_is_on_call", service={"type": "string"})
WEATHER = function("weather", city={"type": "string"}, days={"type": "integer"})


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with served() as server:
        yield server


@asynccontextmanager
async def opened(double: Double, **settings: Any) -> AsyncIterator[OpenAIModel]:
    model = OpenAIModel(double.settings(**settings))
    try:
        yield model
    finally:
        await model.close()


async def step(model: OpenAIModel, *messages: dict[str, Any], **more: Any) -> tuple[list[str], Said]:
    async with aclosing(model.converse(messages or ASKED, [ON_CALL, WEATHER], **more)) as stream:
        *pieces, said = [piece async for piece in stream]
    assert isinstance(said, Said)
    return [str(piece) for piece in pieces], said


async def test_text_comes_in_pieces_with_what_it_took(double: Double) -> None:
    double.behaviours.append(says("Ada is on call [1]."))
    async with opened(double) as model:
        pieces, said = await step(model)
    assert (len(pieces) > 1, "".join(pieces), said.text, said.calls) == (True, said.text, "Ada is on call [1].", ())
    assert said.usage == Usage(1_000, 20, pytest.approx(0.00104))
    [request] = double.requests
    assert (request["tool_choice"], request["stream"], request["tools"]) == ("auto", True, [ON_CALL, WEATHER])


async def test_parallel_calls_are_put_together_from_their_pieces(double: Double) -> None:
    asked = [("who_is_on_call", {"service": "ledger"}), ("weather", {"city": "Zürich", "days": 2})]
    double.behaviours.append(calls(*asked, said="Let me look.", size=3))
    async with opened(double) as model:
        _, said = await step(model)
    assert [(one.name, one.arguments, one.error) for one in said.calls] == [(*one, "") for one in asked]
    assert said.text == "Let me look."


@pytest.mark.parametrize(
    "deltas",
    [
        # no ids at all; the same index for each (older Ollama, Gemini); no index; one piece; the same id twice
        [call(0, "a", '{"n": 1}'), call(1, "b", '{"n": 2}')],
        [call(0, "a", '{"n": 1}', "x"), call(0, "b", '{"n": 2}', "y")],
        [call(None, "a", '{"n": 1}', "x"), call(None, "b", '{"n": 2}', "y")],
        [call(None, "a", '{"n": 1}'), call(None, "b", '{"n": 2}')],
        [{"tool_calls": [*call(0, "a", '{"n": 1}', "x")["tool_calls"], *call(1, "b", '{"n": 2}', "y")["tool_calls"]]}],
        [call(0, "a", '{"n": 1}', "same"), call(1, "b", '{"n": 2}', "same")],
        [call(0, "a", "", "x"), call(1, "b", "", "y"), call(1, None, '{"n": 2}'), call(0, None, '{"n": 1}')],
    ],
    ids=["no ids", "one index", "no index", "neither", "one piece", "one id", "interleaved"],
)
async def test_servers_that_do_it_their_own_way_are_understood(double: Double, deltas: list[dict[str, Any]]) -> None:
    double.behaviours.append(streams(*deltas, finish="tool_calls"))
    async with opened(double) as model:
        _, said = await step(model)
    assert [(one.name, one.arguments) for one in said.calls] == [("a", {"n": 1}), ("b", {"n": 2})]
    assert len({one.id for one in said.calls}) == 2


@pytest.mark.parametrize(
    ("raw", "arguments", "error"),
    [
        ("", {}, ""),
        ("null", {}, ""),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}, ""),
        ('"{\\"a\\": 1}"', {"a": 1}, ""),
        ('{"a": 1', None, "no valid JSON"),
        ("{'a': 1}", None, "no valid JSON"),
        ("[1]", None, "one JSON object"),
        ("12", None, "one JSON object"),
        ('{"a": ' + "[" * 30 + "]" * 30 + "}", {"a": json.loads("[" * 30 + "]" * 30)}, ""),
        ('{"a": ' + "[" * 700 + "]" * 700 + "}", None, "nested too deeply"),
        ('{"a": ' * 50_000, None, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_arguments_that_cannot_be_read_are_said_in_words(
    raw: str, arguments: dict[str, Any] | None, error: str
) -> None:
    found = read("id", "f", raw)
    assert found.arguments == arguments
    assert error in found.error if error else not found.error


@pytest.mark.parametrize("levels", [700, 100_000])
def test_a_reply_that_is_nested_too_deeply_calls_nothing(levels: int) -> None:
    reading = constrained.Reading()
    nested = "[" * levels + "]" * levels
    reading.feed('{"step": {"calls": [{"function": "f", "arguments": {"a": ' + nested + "}}]}}")
    answer, made = reading.finish()
    assert (answer, [call.arguments for call in made if call.arguments is not None]) == ("", [])


async def test_a_call_that_the_limit_cut_off_says_so(double: Double) -> None:
    double.behaviours.append(streams(call(0, "weather", '{"city": "Be', "x"), finish="length"))
    async with opened(double) as model:
        _, said = await step(model)
    assert "cut off" in said.calls[0].error


async def test_results_go_back_under_the_ids_of_their_calls(double: Double) -> None:
    broken = Call("b", "weather", None, "{'city'", "The arguments are no valid JSON.")
    said = Said("", (Call("a", "who_is_on_call", {"service": "ledger"}), broken))
    double.behaviours.append(says("Ada [1]."))
    async with opened(double) as model:  # the double refuses what does not belong together, and arguments that are none
        _, after = await step(
            model, *ASKED, asked_for(said), result(said.calls[0], "Ada"), result(broken, "Error: no JSON")
        )
    assert after.text == "Ada [1]."


async def test_where_it_may_not_call_it_is_told_so_and_calls_are_left_out(double: Double) -> None:
    double.behaviours.append(calls(("weather", {"city": "Bern", "days": 1})))
    async with opened(double) as model:
        _, said = await step(model, may_call=False)
    assert said.calls == ()
    assert double.requests[0]["tool_choice"] == "none"


async def test_a_step_is_tried_again_only_before_anything_was_shown(double: Double) -> None:
    double.behaviours.extend([refuses(503, "busy"), says("Ada [1].")])
    async with opened(double) as model:
        _, said = await step(model)
        assert (said.text, len(double.requests)) == ("Ada [1].", 2)
        double.behaviours.append(cut_after("Ada is"))
        with pytest.raises(ModelError, match="in the middle"):
            await step(model)
    assert len(double.requests) == 3


def cut_after(text: str) -> Behaviour:
    async def behave(request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event({"content": text}))
        assert request.transport is not None
        request.transport.abort()
        return response

    return behave


async def test_a_step_has_its_deadlines(double: Double) -> None:
    double.behaviours.extend([streams({"content": "a"}, *[{"content": "b"}] * 40, pause=0.1)] * 2)
    async with opened(double, llm_timeout=0.6) as model:
        with pytest.raises(ModelTimeout, match="did not finish"):
            await step(model)


# models that call no functions

NO_TOOLS = [
    (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),  # vLLM
    (400, "registry.ollama.ai/library/phi does not support tools"),
    (500, "tools param requires --jinja flag"),  # llama.cpp
]


def replies(step_: dict[str, Any], thought: str = 'I say "answer": "no"', size: int = 5) -> Behaviour:
    """Says the reply, which must fit the schema that the request asks for."""

    async def behave(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        reply = {"thought": thought, "step": step_}
        jsonschema.validate(reply, body["response_format"]["json_schema"]["schema"])
        return await says(json.dumps(reply), size)(request, body)

    return behave


WANTS = {"calls": [{"function": "who_is_on_call", "arguments": {"service": "ledger"}}]}
GIVES = {"answer": 'Ada "the rock" Löwe\nis on call [1]. 🎉 \\o/'}


@pytest.mark.parametrize(("status", "message"), NO_TOOLS)
async def test_an_endpoint_without_functions_is_spoken_to_in_json_from_then_on(
    double: Double, status: int, message: str
) -> None:
    double.behaviours.extend([refuses(status, message), replies(WANTS), replies(GIVES)])
    async with opened(double) as model:
        pieces, said = await step(model)
        assert (pieces, [(one.name, one.arguments) for one in said.calls]) == (
            [], [("who_is_on_call", {"service": "ledger"})],
        )  # fmt: skip
        conversation = [*ASKED, asked_for(said), result(said.calls[0], "<result>Ada</result>")]
        pieces, said = await step(model, *conversation)
    assert (said.text, "".join(pieces), len(pieces) > 3) == (GIVES["answer"], GIVES["answer"], True)
    assert said.usage.prompt_tokens == 1_000
    assert ["tools" in request for request in double.requests] == [True, False, False]
    roles = [message["role"] for message in double.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert '"who_is_on_call"' in double.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "maximum context length is 8192 tokens (7000 in the messages, 3000 in the functions)",
         "context_length_exceeded"),
        (401, "Incorrect API key; tools", None),
        (400, "Invalid schema for function 'weather'", "invalid_function_parameters"),
    ],
)  # fmt: skip
async def test_another_refusal_is_an_error(double: Double, status: int, message: str, code: str | None) -> None:
    double.behaviours.append(refuses(status, message, code))
    async with opened(double) as model:
        with pytest.raises(ModelError, match="refused"):
            await step(model)
    assert len(double.requests) == 1


async def test_the_schema_way_can_be_chosen_and_functions_forbidden(double: Double) -> None:
    double.behaviours.extend([replies(GIVES), replies(GIVES)])
    async with opened(double, llm_tools="schema") as model:
        assert model.calls_functions
        await step(model)
        await step(model, may_call=False)
    for request in double.requests:
        assert "tools" not in request
    schema = double.requests[1]["response_format"]["json_schema"]["schema"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"thought": "", "step": WANTS}, schema)
    async with opened(double, llm_tools="none") as model:
        assert not model.calls_functions


@pytest.mark.parametrize("size", [1, 2, 3, 7, 500])
def test_an_answer_is_read_while_it_is_written(size: int) -> None:
    answer = 'Say "yes" \\ 100 %\n\t– ключ 🎉 </s> "answer": "x"'
    for ascii_only in (True, False):
        raw = json.dumps({"thought": '"step": {"answer": "', "step": {"answer": answer}}, ensure_ascii=ascii_only)
        reading = constrained.Reading()
        shown = [reading.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
        assert "".join(shown) == answer
        assert reading.finish() == (answer, ())


@pytest.mark.parametrize(
    ("raw", "text", "names"),
    [
        ("Plain words.", "Plain words.", []),
        ('{"step": {"answer": "cut o', "cut o", []),
        ('{"thought": "x", "step": {"calls": [{"function": "f"}, {"function": "g", "arguments": {}}]}}', "",
         ["f", "g"]),
        ('{"thought": "no step"}', "", []),
        ("[]", "", []),
        ('{"answer": "without a step"}', "without a step", []),
    ],
)  # fmt: skip
def test_a_reply_that_is_not_as_it_should_be_is_taken_for_what_it_holds(raw: str, text: str, names: list[str]) -> None:
    reading = constrained.Reading()
    reading.feed(raw)
    found, wanted = reading.finish()
    assert (found, [one.name for one in wanted]) == (text, names)


# once, for evaluation


async def test_calls_are_chosen_under_the_names_that_the_functions_have(double: Double) -> None:
    functions = [function("math.factorial", number={"type": "integer"}), function("math_factorial"), function("ä")]
    double.behaviours.append(calls(("math_factorial", {"number": 5}), ("_", {})))
    async with opened(double) as model:
        found = await choose_calls(model, ASKED, functions)
    assert [(one.name, one.arguments) for one in found] == [("math.factorial", {"number": 5}), ("ä", {})]
    assert len({tool["function"]["name"] for tool in double.requests[0]["tools"]}) == 3


def test_long_names_stay_apart() -> None:
    functions = [function("x" * 80 + str(number)) for number in range(12)]
    portable, names = with_portable_names(functions)
    assert all(len(one["function"]["name"]) <= 64 for one in portable)
    assert [names[one["function"]["name"]] for one in portable] == [one["function"]["name"] for one in functions]


# what pays for it


class Purse:
    """Keeps what was set aside and what became of it; refuses once ``left`` is used up."""

    def __init__(self, left: int = 99) -> None:
        self.left = left
        self.reserved: list[tuple[str, int, int]] = []
        self.ended: list[str] = []
        self.usage: list[Usage] = []

    @asynccontextmanager
    async def call(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, purpose: str = "write"
    ) -> AsyncIterator[Purse]:
        if not self.left:
            raise AlmanacError("The cap is reached.")
        self.left -= 1
        self.reserved.append((purpose, prompt_tokens, completion_tokens))
        self._fate = "unknown"
        try:
            yield self
        finally:
            self.ended.append(self._fate)

    def used(self, usage: Usage, cached_tokens: int = 0) -> None:
        self._fate = "used"
        self.usage.append(usage)

    def unsent(self) -> None:
        self._fate = "unsent"


async def test_every_request_is_paid_for_before_it_is_made(double: Double) -> None:
    purse = Purse()
    brief = Brief("Who?", "Who?", (hit(1, "Ada is on call."),), purse=purse)
    whole = streams({"content": "x"})
    double.behaviours.extend([says("Ada [1]."), calls(("weather", {})), refuses(400, "no"), cut_after("A"), whole])
    async with opened(double) as model:
        async with aclosing(model.write(brief)) as stream:
            assert [piece async for piece in stream]
        await step(model, purse=purse)
        for _ in range(2):
            with pytest.raises(ModelError):
                await step(model, purse=purse)
        purse.left = 0
        with pytest.raises(AlmanacError, match="cap"):
            await step(model, purse=purse)
    assert [purpose for purpose, _, _ in purse.reserved] == ["write", "step", "step", "step"]
    assert purse.ended == ["used", "used", "unsent", "unknown"]
    assert purse.usage == [Usage(1_000, 20, pytest.approx(0.00104))] * 2
    assert len(double.requests) == 4  # the fifth was never made
    first, second = double.requests[:2]
    assert purse.reserved[0][1:] == (most_tokens(first["messages"]), 700)
    assert purse.reserved[1][1] == most_tokens(second["messages"], second["tools"])


async def test_a_rewriting_is_paid_for_as_well(double: Double) -> None:
    purse = Purse()
    double.behaviours.append(refuses(500, "down"))
    async with opened(double) as model:
        with pytest.raises(ModelError):
            await model.rewrite("And it?", [Turn("What is ferry?", "A tool [1].")], purse)
    assert purse.reserved[0][0::2] == ("rewrite", 120)
    assert purse.ended == ["unsent"]
