"""An endpoint on this machine that speaks chat completions and is as strict as the real one. Behind it: any function.

Idea.    An agent's bugs are mostly in the conversation: an id without an answer, an answer without an id, two
         answers, a ``tool`` message in the wrong place. The real API refuses each with a 400. A double that accepts
         everything would hide them, so this one refuses too, with the sentences of the real one.
Source.  OpenAI's API reference, and the 400s that its users report.
Left out. Streaming, images, ``n`` above 1, log-probabilities, everything that our three architectures and LangChain
         do not send.

``Policy`` is the model: messages and tools in, an assistant's message out. ``Script`` plays fixed messages,
``rules.py`` is a small rule-based one, and a ``Fault`` is an HTTP failure in place of an answer.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ml.week10_agents.chat import ChatSettings, Message
from ml.week10_agents.local_http import serving

KEY = "sk-local"
ROLES = {"system", "developer", "user", "assistant", "tool"}
KNOWN = {
    "model", "messages", "tools", "tool_choice", "temperature", "stop", "max_tokens", "max_completion_tokens", "stream",
    "n", "parallel_tool_calls", "top_p", "seed", "user",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """An HTTP status instead of an answer."""

    status: int
    words: str = "The server had an error while processing your request"


Policy = Callable[[list[Message], list[dict[str, Any]]], Message | Fault]


def says(text: str) -> Message:
    """An assistant's message of text."""
    return {"role": "assistant", "content": text}


def calls(*wanted: tuple[str, Any], text: str | None = None, first: int = 1) -> Message:
    """An assistant's message of calls, with ids counted from ``first``; arguments that are text go out as they are."""
    made = [
        {
            "id": f"call_{first + place}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for place, (name, given) in enumerate(wanted)
    ]
    return {"role": "assistant", "content": text, "tool_calls": made}


class Script:
    """A policy that plays messages in order, whatever it is asked."""

    def __init__(self, *messages: Message | Fault) -> None:
        self._left = list(messages)

    def __call__(self, messages: list[Message], tools: list[dict[str, Any]]) -> Message | Fault:
        return self._left.pop(0) if self._left else Fault(500, "The script is over.")


class Refused(Exception):
    """The request breaks a rule of the API."""


@dataclass
class LocalModel:
    """What the endpoint does and saw. ``delay`` seconds before each answer; ``count`` measures a text in tokens."""

    policy: Policy
    delay: float = 0.0
    count: Callable[[str], int] = lambda text: -(-len(text) // 4)
    settings: ChatSettings = field(default_factory=lambda: ChatSettings(KEY, "local"))
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Any:
        """One request, for ``serving``."""
        if (method, path) != ("POST", "/v1/chat/completions"):
            return 404, _error(f"Invalid URL ({method} {path})")
        if headers.get("authorization") != f"Bearer {KEY}":
            return 401, _error("Incorrect API key provided.", "invalid_api_key")
        try:
            request = json.loads(body)
            check_request(request)
        except ValueError:
            return 400, _error("We could not parse the JSON body of your request.")
        except Refused as refused:
            return 400, _error(str(refused))
        with self.lock:  # one at a time, so that a script is played in order
            self.requests.append(request)
            message = self.policy(request["messages"], request.get("tools", []))
        time.sleep(self.delay)
        if isinstance(message, Fault):
            return message.status, _error(message.words)
        return 200, self._completion(request, message)

    def _completion(self, request: dict[str, Any], message: Message) -> dict[str, Any]:
        message = {"content": None, "refusal": None} | message
        if message["content"] and (stops := request.get("stop")):
            for stop in [stops] if isinstance(stops, str) else stops:
                message["content"] = message["content"].split(stop)[0]
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        read = self.count(json.dumps([request["messages"], request.get("tools", [])], ensure_ascii=False))
        written = self.count(json.dumps(message.get("tool_calls") or message["content"], ensure_ascii=False))
        return {
            "id": f"chatcmpl-{len(self.requests)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


@contextmanager
def local_model(policy: Policy, delay: float = 0.0, count: Callable[[str], int] | None = None) -> Iterator[LocalModel]:
    """Serve ``policy``; ``settings`` of what is yielded are those for ``OpenAIModel``."""
    model = LocalModel(policy, delay)
    if count:
        model.count = count
    with serving(model.answer) as address:
        model.settings = ChatSettings(KEY, "local", f"{address}/v1", timeout=10.0)
        yield model


def check_request(request: Any) -> None:
    """Raise Refused where the real endpoint answers 400."""
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise Refused("you must provide a model parameter")
    if unknown := sorted(set(request) - KNOWN):
        raise Refused(f"Unrecognized request argument supplied: {unknown[0]}")
    if request.get("stream"):
        raise Refused("This endpoint does not stream.")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
        )
    check_tools(request.get("tools"))
    check_messages(messages)


def check_tools(tools: Any) -> None:
    """Names, schemas, no name twice, no empty list."""
    if tools is None:
        return
    if not isinstance(tools, list) or not tools:
        raise Refused("[] is too short - 'tools'")
    names = [tool.get("function", {}).get("name", "") for tool in tools]
    for tool, name in zip(tools, names, strict=True):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
            raise Refused(f"Invalid 'tools[].function.name': {name!r} does not match '^[a-zA-Z0-9_-]+$'.")
        schema = tool["function"].get("parameters", {"type": "object"})
        if schema.get("type") != "object":
            raise Refused(f"Invalid schema for function {name!r}: schema must be of type 'object'.")
    if len(set(names)) < len(names):
        raise Refused("Tool names must be unique.")


def check_messages(messages: Sequence[Any]) -> None:
    """Every call has exactly one answer, at once after it and nowhere else."""
    open_ids: list[str] = []
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise Refused(f"Invalid value: {role!r}. Supported values are: 'assistant', 'system', 'tool', 'user'.")
        if role == "tool":
            if message.get("tool_call_id") not in open_ids:
                raise Refused(
                    f"Invalid parameter: messages[{index}] with role 'tool' must be a response to a preceeding message "
                    "with 'tool_calls'."
                )
            open_ids.remove(message["tool_call_id"])
        elif open_ids:
            raise _unanswered(open_ids)
        wanted = message.get("tool_calls")
        if wanted is not None:
            open_ids = _call_ids(index, role, wanted)
        elif not isinstance(message.get("content"), str | list):
            raise Refused(f"Invalid value for 'content': expected a string, got null. (messages[{index}])")
    if open_ids:
        raise _unanswered(open_ids)


def _call_ids(index: int, role: str, wanted: Any) -> list[str]:
    if role != "assistant" or not isinstance(wanted, list) or not wanted:
        raise Refused(f"Invalid 'messages[{index}].tool_calls'.")
    for call in wanted:
        if call.get("type") != "function" or not isinstance(call["function"].get("arguments"), str):
            raise Refused(f"Invalid type for 'messages[{index}].tool_calls[].function.arguments': expected a string.")
    ids = [call.get("id") for call in wanted]
    if len(set(ids)) < len(ids) or not all(isinstance(id_, str) and id_ for id_ in ids):
        raise Refused(f"Duplicate or missing ids in 'messages[{index}].tool_calls'.")
    return ids


def _unanswered(ids: Sequence[str]) -> Refused:
    return Refused(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(ids)}"
    )


def _error(words: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": code}}
