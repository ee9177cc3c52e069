"""Output under a JSON schema: even a model of random weights writes what the schema accepts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from tests.serving.world import ask, running
from workers.language_model import LanguageModel
from workers.serving.api import Function
from workers.serving.functions import Functions
from workers.serving.requests import BadRequest, Request

PROMPT = [1, 70, 71, 72]
TICKET = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 12},
        "urgency": {"enum": ["low", "high"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 1, "maxItems": 2},
        "due": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^20[0-9]{2}$"}]},
    },
    "required": ["title", "urgency", "count", "tags", "due"],
    "additionalProperties": False,
}
FUNCTIONS = [
    {
        "name": "restart_service",
        "parameters": {
            "type": "object",
            "properties": {"service": {"enum": ["billing", "search"]}, "force": {"type": "boolean"}},
            "required": ["service", "force"],
            "additionalProperties": False,
        },
    },
    {"name": "list_services", "description": "All of them."},
]


async def test_every_text_is_what_the_schema_accepts(tiny: LanguageModel) -> None:
    requests = [Request(PROMPT, max_tokens=300, temperature=1.0, seed=seed, schema=TICKET) for seed in range(6)] + [
        Request(PROMPT, max_tokens=300, schema=TICKET)
    ]
    async with running(tiny, slots=8) as engine:
        free = Request(PROMPT, max_tokens=30, min_tokens=30)
        said = await asyncio.gather(*(ask(engine, request) for request in [*requests, free]))
        alone = await ask(engine, free)
    for one in said[:-1]:
        assert one.finish == "stop"
        jsonschema.validate(json.loads(one.text), TICKET)
    assert len({one.text for one in said[:6]}) > 3
    assert said[-1].tokens == alone.tokens  # a neighbour without a schema is not touched


async def test_what_is_forced_is_read_in_one_pass(tiny: LanguageModel) -> None:
    schema = {"type": "object", "properties": {"a_rather_long_name_of_a_field": {"enum": [1, 2]}}, "minProperties": 1}
    schema |= {"required": ["a_rather_long_name_of_a_field"], "additionalProperties": False}
    async with running(tiny) as engine:
        said = await ask(engine, Request(PROMPT, max_tokens=100, schema=schema))
        stats = engine.stats()
    assert json.loads(said.text)["a_rather_long_name_of_a_field"] in (1, 2)
    assert stats.completion_tokens >= 34  # its tokens are bytes
    assert stats.steps < 10


async def test_max_tokens_cuts_and_says_so(tiny: LanguageModel) -> None:
    async with running(tiny) as engine:
        said = await ask(engine, Request(PROMPT, max_tokens=7, schema=TICKET))
    assert said.finish == "length"
    assert said.usage.completion_tokens == 7
    assert '{"title":"'.startswith(said.text)


@pytest.mark.parametrize("seed", range(4))
async def test_a_call_names_one_of_the_functions_with_its_arguments(tiny: LanguageModel, seed: int) -> None:
    schema = Functions(tuple(Function.model_validate(one) for one in FUNCTIONS), must=True, most=1).schema()
    async with running(tiny) as engine:
        said = await ask(engine, Request(PROMPT, max_tokens=200, temperature=1.5, seed=seed, schema=schema))
    [call] = json.loads(said.text)["calls"]
    assert list(call) == ["name", "arguments"]
    if call["name"] == "restart_service":
        jsonschema.validate(call["arguments"], FUNCTIONS[0]["parameters"])
    else:
        assert call == {"name": "list_services", "arguments": {}}


@pytest.mark.parametrize(
    "schema",
    [{"type": "strange"}, {"type": "object", "not": {"type": "string"}}, {"enum": []}, {"$ref": "#/nowhere"}],
    ids=["type", "not", "nothing", "ref"],
)
async def test_a_schema_that_cannot_be_followed_is_refused(tiny: LanguageModel, schema: dict[str, Any]) -> None:
    async with running(tiny, slots=1, waiting=0) as engine:
        with pytest.raises(BadRequest, match="schema"):
            await ask(engine, Request(PROMPT, schema=schema))
        assert (await ask(engine, Request(PROMPT, max_tokens=2))).finish == "length"  # its place is free again
