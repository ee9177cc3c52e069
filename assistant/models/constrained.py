"""For models that call no functions: the functions stand in the prompt, and a reply is JSON under a schema.

A reply is ``{"thought": …, "step": {"calls": [{"function": …, "arguments": {…}}]}}`` or ``{"thought": …, "step":
{"answer": …}}``. The endpoint lets the model write nothing else (``response_format``: OpenAI, vLLM, llama.cpp, Ollama),
and the answer is read while it is being written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.models.functions import MOST_CALLS, TOO_DEEP, read
from assistant.models.port import Call, Function

THOUGHT_CHARACTERS = 400

EXPLAINED = """\
You reply with one JSON object and nothing else. Its "thought" says in one short sentence what is to be done. Its "step"
is one of:
{forms}"""
MAY_CALL = """\
- {{"calls": [{{"function": "<name>", "arguments": {{…}}}}, …]}} to have functions called; their results come next.
- {{"answer": "<text>"}} to answer.

Functions, with the JSON schema of their arguments:
{functions}"""
MAY_NOT_CALL = """- {"answer": "<text>"} to answer. No function can be called any more."""

_STRING = r'"(?:[^"\\]|\\.)*"'
# The keys come in the schema's order, so that what a text quotes is never taken for the answer.
_ANSWER = re.compile(rf'\s*\{{\s*(?:"thought"\s*:\s*{_STRING}\s*,\s*)?"step"\s*:\s*\{{\s*"answer"\s*:\s*"', re.DOTALL)
# As much of a JSON string as is whole: no half of an escape, and of a surrogate pair both halves.
_WHOLE = re.compile(
    r"""(?:[^"\\] | \\["\\/bfnrt] | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
        | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4})*""",
    re.VERBOSE,
)


def response_format(functions: Sequence[Function]) -> dict[str, Any]:
    """The schema of a reply; without functions it is an answer."""
    answer = _object({"answer": {"type": "string"}})
    step: dict[str, Any] = answer
    if functions:
        items = {"anyOf": [_call(function["function"]) for function in functions]}
        calls = _object({"calls": {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_CALLS}})
        step = {"anyOf": [answer, calls]}
    schema = _object({"thought": {"type": "string", "maxLength": THOUGHT_CHARACTERS}, "step": step})
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


def conversation(
    messages: Sequence[Mapping[str, Any]], functions: Sequence[Function], may_call: bool
) -> list[dict[str, Any]]:
    """The conversation without functions in OpenAI's form: calls are replies, results are said by the person."""
    result: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            _append(result, "user", str(message["content"]))
        elif message.get("tool_calls"):
            calls = [
                {"function": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
                for call in message["tool_calls"]
            ]
            step = {"thought": message["content"] or "", "step": {"calls": calls}}
            _append(result, "assistant", json.dumps(step, ensure_ascii=False))
        else:
            _append(result, str(message["role"]), str(message["content"] or ""))
    explained = EXPLAINED.replace("{forms}", _forms(functions) if may_call and functions else MAY_NOT_CALL)
    if result and result[0]["role"] == "system":
        result[0]["content"] += f"\n\n{explained}"
    else:
        result.insert(0, {"role": "system", "content": explained})
    return result


class Growing:
    """A text inside JSON that is being written, given out as it comes; ``begins`` matches all that stands before it.

    ``raw`` is all that came so far, ``shown`` what of the text was given out.
    """

    def __init__(self, begins: re.Pattern[str]) -> None:
        self._begins = begins
        self._at: int | None = None  # where the part of the text begins that was not given out
        self.raw = ""
        self.shown = ""

    def feed(self, piece: str) -> str:
        """What of the text is there now, and was not before."""
        self.raw += piece
        if self._at is None:
            begins = self._begins.match(self.raw)
            if begins is None:
                return ""
            self._at = begins.end()
        whole = _WHOLE.match(self.raw, self._at)
        if whole is None or whole.end() == self._at:
            return ""
        self._at = whole.end()
        text: str = json.loads(f'"{whole.group()}"', strict=False)
        self.shown += text
        return text


class Reading(Growing):
    """Reads a reply as it comes. ``shown`` is what was given out of the answer so far."""

    def __init__(self) -> None:
        super().__init__(_ANSWER)

    def finish(self) -> tuple[str, tuple[Call, ...]]:
        """The whole answer, and the calls. What is no JSON is taken for an answer as it stands."""
        try:
            value = json.loads(self.raw, strict=False)
        except (ValueError, RecursionError):
            return (self.shown or ("" if self.raw.lstrip().startswith("{") else self.raw.strip())), ()
        step = value.get("step", value) if isinstance(value, dict) else {}
        if not isinstance(step, dict):
            return self.shown, ()
        calls = step.get("calls")
        if isinstance(calls, list):
            return "", tuple(_read(number, item) for number, item in enumerate(calls[:MOST_CALLS], start=1))
        answer = step.get("answer")
        return (answer if isinstance(answer, str) and answer.startswith(self.shown) else self.shown), ()


def _read(number: int, item: Any) -> Call:
    item = item if isinstance(item, dict) else {}
    name = str(item.get("function", ""))
    try:
        return read(f"call_{number}", name, json.dumps(item.get("arguments") or {}))
    except RecursionError:
        return Call(f"call_{number}", name, None, "", TOO_DEEP)


def _forms(functions: Sequence[Function]) -> str:
    told = [
        {"name": one["function"]["name"], "description": one["function"].get("description", ""),
         "arguments": one["function"].get("parameters", {})}
        for one in functions
    ]  # fmt: skip
    return MAY_CALL.format(functions="\n".join(json.dumps(one, ensure_ascii=False) for one in told))


def _call(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    return _object({"function": {"type": "string", "enum": [function["name"]]}, "arguments": arguments})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _append(result: list[dict[str, Any]], role: str, content: str) -> None:
    """Some templates want people and model to take turns: what one says in a row is one message."""
    if result and result[-1]["role"] == role != "system":
        result[-1]["content"] += f"\n\n{content}"
    else:
        result.append({"role": role, "content": content})
