"""Function calling for models that know no such thing: the functions stand in the prompt, the reply is JSON under a
schema, ``{"answer": "…"}`` or ``{"calls": [{"name": "…", "arguments": {…}}]}``, and goes out in OpenAI's form.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assistant.models.constrained import Growing
from assistant.models.forms import moved
from workers.serving.api import ChatMessage, ChatRequest, Function, NamedTool

MOST_CALLS = 8  # of one reply
_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"')

EXPLAINED = """\
You reply with one JSON object and nothing else:
{forms}

Functions, with the JSON schema of their arguments:
{functions}"""
ANSWERS = '- {"answer": "<text>"} to answer.'
CALLS = '- {"calls": [{"name": "<function>", "arguments": {…}}]} to have functions called; their results come next.'


@dataclass(frozen=True, slots=True)
class Call:
    """``arguments`` is JSON, as OpenAI's API has it."""

    id: str
    name: str
    arguments: str

    def json(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class Reader(Protocol):
    """Makes of a model's pieces what the client sees."""

    def feed(self, piece: str) -> str:
        """The text to show now."""

    def finish(self) -> tuple[str, tuple[Call, ...]]:
        """The rest of the text, and the calls."""


class Plain:
    """Text as it is."""

    def feed(self, piece: str) -> str:
        return piece

    def finish(self) -> tuple[str, tuple[Call, ...]]:
        return "", ()


class Replying(Growing):
    """A reply with an answer or calls. One that was cut off within its calls has none."""

    def __init__(self) -> None:
        super().__init__(_ANSWER)

    def finish(self) -> tuple[str, tuple[Call, ...]]:
        try:
            value = json.loads(self.raw, strict=False)
        except ValueError:
            return "", ()
        calls = value.get("calls", []) if isinstance(value, dict) else []
        return "", tuple(_call(one) for one in calls)


@dataclass(frozen=True, slots=True)
class Functions:
    """What may be called. ``must``: an answer is not possible. ``most``: how many calls a reply may have."""

    offered: tuple[Function, ...]
    must: bool = False
    most: int = MOST_CALLS

    def schema(self) -> dict[str, Any]:
        """What the reply has to fit."""
        answer = _object({"answer": {"type": "string", "minLength": 1}})
        place = "#/properties/calls/items" if self.must else "#/anyOf/1/properties/calls/items"
        items = {"anyOf": [_form(one, f"{place}/anyOf/{index}") for index, one in enumerate(self.offered)]}
        calls = _object({"calls": {"type": "array", "items": items, "minItems": 1, "maxItems": self.most}})
        return calls if self.must else {"anyOf": [answer, calls]}

    def explained(self) -> str:
        """What the model is told of them."""
        told = [{"name": one.name, "description": one.description, "arguments": one.parameters}
                for one in self.offered]  # fmt: skip
        forms = CALLS if self.must else f"{ANSWERS}\n{CALLS}"
        functions = "\n".join(json.dumps(one, ensure_ascii=False) for one in told)
        return EXPLAINED.replace("{forms}", forms).replace("{functions}", functions)


def functions_of(request: ChatRequest) -> Functions | None:
    """What the request lets the model call; None where that is nothing."""
    if not request.tools or request.tool_choice == "none":
        return None
    offered = tuple(tool.function for tool in request.tools)
    if isinstance(request.tool_choice, NamedTool):
        name = request.tool_choice.function.name
        return Functions(tuple(one for one in offered if one.name == name), must=True, most=1)
    most = MOST_CALLS if request.parallel_tool_calls else 1
    return Functions(offered, must=request.tool_choice == "required", most=most)


def conversation(messages: Sequence[ChatMessage], functions: Functions | None) -> list[dict[str, str]]:
    """The messages for a chat template: calls are replies, results are said by the user, rules come first."""
    result: list[dict[str, str]] = []
    for message in messages:
        if message.role == "tool":
            _append(result, "user", f"Result of the call: {message.text}")
        elif message.role == "assistant" and message.tool_calls:
            calls = [{"name": one.function.name, "arguments": _read(one.function.arguments)}
                     for one in message.tool_calls]  # fmt: skip
            _append(result, "assistant", json.dumps({"calls": calls}, ensure_ascii=False))
        else:
            role = "system" if message.role == "developer" else message.role
            _append(result, role, message.text)
    if functions is not None:
        if not result or result[0]["role"] != "system":
            result.insert(0, {"role": "system", "content": functions.explained()})
        else:
            result[0]["content"] += f"\n\n{functions.explained()}"
    return result


def _form(function: Function, place: str) -> dict[str, Any]:
    """The schema of one call, which lies at ``place`` of the reply's."""
    parameters = moved(function.parameters, f"{place}/properties/arguments")
    if "type" not in parameters and "$ref" not in parameters:
        parameters = {**parameters, "type": "object"}
    if parameters.get("type") == "object" and not parameters.get("properties"):
        parameters = {**parameters, "properties": {}, "additionalProperties": False}
    return _object({"name": {"type": "string", "enum": [function.name]}, "arguments": parameters})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _call(one: dict[str, Any]) -> Call:
    return Call(f"call_{uuid.uuid4().hex[:24]}", one["name"], json.dumps(one["arguments"], ensure_ascii=False))


def _read(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _append(result: list[dict[str, str]], role: str, content: str) -> None:
    """Some templates want people and model to take turns: what one says in a row is one message."""
    if result and result[-1]["role"] == role != "system":
        result[-1]["content"] += f"\n\n{content}"
    else:
        result.append({"role": role, "content": content})
