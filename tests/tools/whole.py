"""All of Almanac as `almanac up` builds it, in this process: every front end over real services and the sample's API.

Only what lies outside is a double, and that on real sockets: the language model's endpoint, and Slack.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from assistant.evaluation.obedient import ObedientModel
from assistant.models.port import Said
from assistant.services import Services, open_services
from assistant.settings import Settings, load_settings
from bot.app import create_application
from bot.sample_tools import SECRET as TOKEN_NAME
from bot.sample_tools import SOURCE
from bot.state import SampleTools
from tests.core.functions_double import USAGE, Behaviour, Double, call, streams
from tests.slack.double import BEN, BOT_TOKEN, SECRET, TEAM, SlackDouble
from tests.slack.world import hurry, live
from tests.web.client import ask

Json = dict[str, Any]
MODEL = "small-1"


@contextmanager
def in_a_hurry() -> Iterator[pytest.MonkeyPatch]:
    """No proxies; what takes minutes at Slack takes moments."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.delenv(name, raising=False)
        hurry(patch.setattr)
        live(patch.setattr, shown=False)
        yield patch


def settings_of(tools: SampleTools, double: Double, slack: SlackDouble | None = None, **more: Any) -> Settings:
    """The settings that `almanac up` gives its bot, with an endpoint and, where there is one, a Slack."""
    values: Json = {
        "tools": tools.file, "tool_servers": tools.servers, "tool_secrets": tools.secrets,
        "llm_base_url": f"{double.url}/v1", "llm_model": MODEL, "llm_prices": {MODEL: {"prompt": 1, "completion": 2}},
        "embedding_threads": 1, **more,
    }  # fmt: skip
    if slack is not None:
        values |= {"slack_bot_token": BOT_TOKEN, "slack_signing_secret": SECRET, "slack_api_base_url": slack.base_url}
    return load_settings(_env_file=None, admins=f"slack:{TEAM}:{BEN}", **values)


@dataclass
class Whole:
    """``url`` is where all front ends are; ``model`` is what stands behind the language model's address."""

    services: Services
    url: str
    model: Double

    @property
    def events_url(self) -> str:
        return f"{self.url}/slack/events"

    async def ask(self, asked: str, *behaviours: Behaviour, person: aiohttp.ClientSession | None = None) -> Asked:
        """One question on the web page's API, of somebody new unless ``person`` is given."""
        self.model.requests.clear()
        self.model.behaviours.clear()
        self.model.behaviours.extend(behaviours)
        own = person or somebody()
        try:
            return Asked(await ask(own, self.url, asked, conversation=str(uuid.uuid4())))
        finally:
            if person is None:
                await own.close()


@dataclass
class Asked:
    """What the page was told of one question."""

    events: list[Any]

    @property
    def answer(self) -> Json:
        name, data = self.events[-1]
        assert name == "done"
        return dict(data)

    @property
    def streamed(self) -> str:
        return "".join(data["text"] for name, data in self.events if name == "delta")

    @property
    def stages(self) -> list[tuple[str, str]]:
        return [(data["stage"], data.get("tool", "")) for name, data in self.events if name == "progress"]


@asynccontextmanager
async def opened(settings: Settings, database_url: str, model: Double) -> AsyncIterator[Whole]:
    async with open_services(settings, database_url) as services:
        runner = web.AppRunner(create_application(services), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Whole(services, f"http://127.0.0.1:{runner.addresses[0][1]}", model)
        finally:
            await runner.cleanup()


def somebody() -> aiohttp.ClientSession:
    """A browser of its own."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


@dataclass
class Company:
    """The sample company's API, past Almanac."""

    tools: SampleTools

    async def request(self, method: str, path: str, body: Any = None) -> Json:
        headers = {"Authorization": f"Bearer {self.tools.secrets[TOKEN_NAME]}"}
        async with (
            aiohttp.ClientSession(self.tools.servers[SOURCE], headers=headers) as client,
            client.request(method, path, json=body) as response,
        ):
            assert response.status < 300, await response.text()
            return dict(await response.json())

    async def last_restart(self, service: str) -> Json | None:
        found: Json | None = (await self.request("GET", f"/services/{service}"))["last_restart"]
        return found

    async def restarts(self) -> int:
        """How many there were of all services: their numbers are given one after the other."""
        services = (await self.request("GET", "/services"))["services"]
        last = [await self.last_restart(service["name"]) for service in services]
        return max((int(it["id"].removeprefix("R-")) - 1_000 for it in last if it), default=0)


# what the model does


def tells(words: Callable[[str], str]) -> Behaviour:
    """Says something of the newest result, and cites it. ``words`` makes it from what the model was told."""

    async def behave(request: web.Request, body: Json) -> web.StreamResponse:
        told = next(it["content"] for it in reversed(body["messages"]) if it["role"] in ("tool", "user"))
        [*_, number] = re.findall(r'<result number="(\d+)"', told)
        text = f"{words(told)} [{number}]."
        if "response_format" in body:
            text = json.dumps({"thought": "The result says it.", "step": {"answer": text}})
        return await _in_pieces(text)(request, body)

    return behave


def quotes(pattern: str, sentence: str) -> Behaviour:
    """Says ``sentence`` with what ``pattern`` finds in the newest result."""

    def words(told: str) -> str:
        found = re.search(pattern, told)
        assert found, told
        return sentence.format(*found.groups())

    return tells(words)


IS_ON_CALL = quotes(r'"on_call":"([^"]+)"', "{} is on call for ledger")  # of what the company's API says


def obeys(model: ObedientModel) -> Behaviour:
    """Does all that anybody tells it, in OpenAI's form."""

    async def behave(request: web.Request, body: Json) -> web.StreamResponse:
        may_call = body.get("tool_choice") == "auto"
        async for piece in model.converse(body["messages"], body.get("tools", ()), may_call=may_call):
            if isinstance(piece, Said):
                said = piece
        deltas = [{"content": said.text}] if said.text else []
        deltas += [call(n, it.name, it.raw, f"id_{uuid.uuid4().hex}") for n, it in enumerate(said.calls)]
        return await streams(*deltas, finish="tool_calls" if said.calls else "stop")(request, body)

    return behave


def in_schema(*wanted: tuple[str, Json]) -> Behaviour:
    """Calls as a model without functions writes them: JSON under a schema."""
    made = [{"function": name, "arguments": arguments} for name, arguments in wanted]
    return _in_pieces(json.dumps({"thought": "It has to be looked up.", "step": {"calls": made}}))


def in_schema_says(text: str) -> Behaviour:
    return _in_pieces(json.dumps({"thought": "That is all.", "step": {"answer": text}}))


def _in_pieces(text: str) -> Behaviour:
    return streams(*({"content": text[at : at + 7]} for at in range(0, len(text), 7)))


def rewrites(question: str) -> Behaviour:
    """Answers in one piece, as it is asked to when a question leans on the conversation."""

    async def behave(_request: web.Request, body: Json) -> web.StreamResponse:
        assert not body.get("stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": question}, "finish_reason": "stop"}
        return web.json_response({"id": "c", "object": "chat.completion", "created": 1, "model": MODEL,
                                  "choices": [choice], "usage": USAGE})  # fmt: skip

    return behave


def dies(after: str = "") -> Behaviour:
    """The connection breaks, in the middle of ``after`` or before anything is said."""

    async def behave(request: web.Request, body: Json) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if after:
            await response.prepare(request)
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
                     "choices": [{"index": 0, "delta": {"content": after}, "finish_reason": None}]}  # fmt: skip
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    return behave
