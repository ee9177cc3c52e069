"""A server on a real socket that takes chat completions with functions as OpenAI's API does, and refuses what it would.

It replies as the next of ``behaviours`` says. What a conversation must look like is checked on every request: each call
answered by exactly one result, under its id, right after the message that asked for it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jsonschema
from aiohttp import web

from assistant.settings import Settings, load_settings

Behaviour = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020}


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def streams(*deltas: dict[str, Any], finish: str = "stop", pause: float = 0.0) -> Behaviour:
    async def behave(request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event({"role": "assistant", "content": None}))
        for delta in deltas:
            await response.write(event(delta))
            await asyncio.sleep(pause)
        await response.write(event({}, finish) + event(usage=USAGE) + b"data: [DONE]\n\n")
        return response

    return behave


def says(text: str, size: int = 9) -> Behaviour:
    return streams(*({"content": text[at : at + size]} for at in range(0, len(text), size)))


def call(index: int | None, name: str | None, arguments: str, identifier: str | None = None) -> dict[str, Any]:
    """One delta of one call, in OpenAI's form."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    entry: dict[str, Any] = {"function": function}
    if index is not None:
        entry["index"] = index
    if identifier is not None:
        entry |= {"id": identifier, "type": "function"}
    return {"tool_calls": [entry]}


def calls(*wanted: tuple[str, Any], said: str = "", size: int = 4) -> Behaviour:
    """Calls (name, arguments) as OpenAI streams them: an id and a name first, then the arguments in pieces."""
    deltas: list[dict[str, Any]] = [{"content": said}] if said else []
    for index, (name, arguments) in enumerate(wanted):
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        deltas.append(call(index, name, "", f"id_{index}_{name}"))
        deltas += [call(index, None, raw[at : at + size]) for at in range(0, len(raw), size)]
    return streams(*deltas, finish="tool_calls")


def refuses(status: int, message: str, code: str | None = None) -> Behaviour:
    async def behave(_request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        return error(message, status, code)

    return behave


def error(message: str, status: int = 400, code: str | None = "invalid_value") -> web.Response:
    return web.json_response({"error": {"message": message, "type": "x", "code": code}}, status=status)


def problem(body: dict[str, Any]) -> str:
    """What OpenAI would find wrong with a request; "" where it is right."""
    if "tool_choice" in body and not body.get("tools"):
        return "'tool_choice' is only allowed when 'tools' are specified."
    for tool in body.get("tools", ()):
        function = tool["function"]
        if tool["type"] != "function" or not NAME.fullmatch(function["name"]):
            return f"Invalid 'tools[0].function.name': {function['name']}"
        if function["parameters"].get("type") != "object":
            return f"Invalid schema for function '{function['name']}'"
    names = [tool["function"]["name"] for tool in body.get("tools", ())]
    if len(names) != len(set(names)):
        return "Tool names must be unique."
    if form := body.get("response_format"):
        if form["type"] != "json_schema" or not NAME.fullmatch(form["json_schema"]["name"]):
            return "Invalid 'response_format'."
        jsonschema.Draft202012Validator.check_schema(form["json_schema"]["schema"])
    return problem_of(body["messages"])


def problem_of(messages: Sequence[dict[str, Any]]) -> str:
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"tool_call_ids did not have response messages: {open_calls}"
        if message["role"] not in ("system", "user", "assistant"):
            return f"Invalid role {message['role']}"
        if message["content"] is None and not message.get("tool_calls"):
            return "Invalid value for 'content': expected a string, got null."
        for asked in message.get("tool_calls", ()):
            json.loads(asked["function"]["arguments"])
            open_calls.append(asked["id"])
        if len(open_calls) != len(set(open_calls)):
            return "Duplicate tool_call_id."
    return f"tool_call_ids did not have response messages: {open_calls}" if open_calls else ""


@dataclass
class Double:
    url: str = ""
    behaviours: deque[Behaviour] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if wrong := problem(body):
            return error(wrong)
        return await self.behaviours.popleft()(request, body)

    def settings(self, **more: Any) -> Settings:
        values = {
            "llm_base_url": f"{self.url}/v1", "llm_model": "small-1", "llm_timeout": 40.0,
            "llm_first_token_timeout": 30.0, "llm_prices": {"small-1": {"prompt": 1, "completion": 2}}, **more,
        }  # fmt: skip
        return load_settings(_env_file=None, **values)

    def told(self, number: int = -1) -> list[str]:
        """The results that a request hands to the model."""
        return [item["content"] for item in self.requests[number]["messages"] if item["role"] == "tool"]


@asynccontextmanager
async def served() -> AsyncIterator[Double]:
    double = Double()
    application = web.Application(client_max_size=8 << 20)
    application.router.add_post("/v1/chat/completions", double.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        await runner.cleanup()
