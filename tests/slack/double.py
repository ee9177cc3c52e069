"""A Slack on a local socket: its Web API with limits and errors, its signed deliveries, its Socket Mode."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from tests.slack.limits import refused

TEAM, BOT, BOT_ID, APP = "T0TEAM", "U0ALMANAC", "B0ALMANAC", "A0ALMANAC"
BOT_TOKEN, APP_TOKEN, SECRET = "xoxb-test-token", "xapp-test-token", "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL, DM, ANNA, BEN = "C0GENERAL", "D0ANNA", "U0ANNA", "U0BEN"
ACK_SECONDS = 3.0

Json = dict[str, Any]


@dataclass
class Fault:
    """What happens to one call of a method instead of, or after, its effect."""

    status: int = 200
    error: str | None = None
    retry_after: str | None = None
    effect_first: bool = False  # the message is there, and yet the client sees ``drop`` or ``status``
    drop: bool = False
    body: str | None = None
    delay: float = 0.0  # after the effect, before the reply


@dataclass
class Said(Exception):
    """An answer with ok: false."""

    error: str


@dataclass
class Channel:
    messages: list[Json] = field(default_factory=list)
    archived: bool = False
    member: bool = True


class SlackDouble:
    """Start it with ``running``. ``visible`` is what people see of the bot."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {CHANNEL: Channel(), DM: Channel()}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.calls: list[tuple[str, Json]] = []
        self.ephemerals: list[Json] = []
        self.statuses: list[Json] = []
        self.unsupported_blocks: set[str] = set()
        self.page = 1_000  # the most messages a look-up returns
        self.base_url = ""
        self.sockets: list[web.WebSocketResponse] = []
        self.tickets: set[str] = set()
        self.acks: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._clock = itertools.count(1_700_000_000)
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SlackDouble]:
        application = web.Application()
        application.router.add_route("*", "/api/{method}", self._api)
        application.router.add_post("/response/{id}", self._response_url)
        application.router.add_get("/socket", self._socket)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.root = f"{host}:{port}"
        self.base_url = f"http://{self.root}/api/"
        try:
            yield self
        finally:
            for socket in self.sockets:
                await socket.close()
            await runner.cleanup()

    # what people do

    def says(self, user: str, text: str, channel: str = CHANNEL, thread_ts: str | None = None) -> Json:
        """A person writes; returns the message."""
        message = {"type": "message", "user": user, "text": text, "ts": self._ts(), "channel": channel}
        if thread_ts:
            message["thread_ts"] = thread_ts
        self.channels[channel].messages.append(message)
        return message

    def mention(self, question: str, user: str = ANNA, thread_ts: str | None = None, **event: Any) -> Json:
        """The event for a message in the channel that mentions the bot."""
        message = self.says(user, f"<@{BOT}> {question}", thread_ts=thread_ts)
        return envelope({**message, "type": "app_mention", **event})

    def direct(self, question: str, user: str = ANNA, **event: Any) -> Json:
        message = self.says(user, question, channel=DM)
        return envelope({**message, "channel_type": "im", **event})

    def click(self, message: Json, thumb: str, user: str = ANNA) -> Json:
        """The payload for a click on a thumb below ``message``: positive or negative."""
        block = next(block for block in message["blocks"] if block["type"] == "context_actions")
        button = block["elements"][0]
        return {
            "type": "block_actions",
            "user": {"id": user, "team_id": TEAM},
            "team": {"id": TEAM, "domain": "example"},
            "api_app_id": APP,
            "container": {"type": "message", "message_ts": message["ts"], "thread_ts": message.get("thread_ts")},
            "channel": {"id": message["channel"]},
            "message": message,
            "response_url": f"http://{self.root}/response/{uuid.uuid4().hex}",
            "actions": [
                {
                    "type": "feedback_buttons",
                    "action_id": button["action_id"],
                    "block_id": block["block_id"],
                    "value": button[f"{thumb}_button"]["value"],
                    "action_ts": self._ts(),
                }
            ],
        }

    # what people see

    @property
    def visible(self) -> list[Json]:
        """The bot's messages, oldest first."""
        everything = [message for channel in self.channels.values() for message in channel.messages]
        return sorted((m for m in everything if m.get("bot_id") == BOT_ID), key=lambda m: float(m["ts"]))

    async def until(self, count: int, seconds: float = 15.0) -> list[Json]:
        """Wait for that many messages of the bot."""
        async with asyncio.timeout(seconds):
            while len(self.visible) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.visible

    async def until_ephemeral(self, count: int, seconds: float = 5.0) -> list[Json]:
        async with asyncio.timeout(seconds):
            while len(self.ephemerals) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.ephemerals

    def called(self, method: str) -> list[Json]:
        return [arguments for name, arguments in self.calls if name == method]

    # the Web API

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments = await _arguments(request)
        self.calls.append((method, arguments))
        fault = self.faults[method].popleft() if self.faults[method] else None
        if fault is not None and not fault.effect_first:
            return await self._fail(request, fault)
        try:
            reply = {"ok": True, **self._handle(method, _token(request, arguments), arguments)}
        except Said as said:
            reply = {"ok": False, "error": said.error}
        if fault is not None:
            return await self._fail(request, fault, reply)
        return web.json_response(reply)

    async def _fail(self, request: web.Request, fault: Fault, reply: Json | None = None) -> web.StreamResponse:
        await asyncio.sleep(fault.delay)
        if fault.drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        if fault.body is not None:
            return web.Response(status=fault.status, text=fault.body, content_type="text/html", headers=headers)
        if fault.error is not None or fault.status != 200:
            reply = {"ok": False, "error": fault.error or "internal_error"}
        return web.json_response(reply or {"ok": True}, status=fault.status, headers=headers)

    def _handle(self, method: str, token: str, arguments: Json) -> Json:
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            raise Said("invalid_auth" if token else "not_authed")
        handler = {
            "auth.test": lambda _: {"team_id": TEAM, "user_id": BOT, "bot_id": BOT_ID},
            "chat.postMessage": self._post_message,
            "conversations.replies": self._replies,
            "conversations.history": self._history,
            "assistant.threads.setStatus": self._set_status,
            "reactions.add": lambda _: {},
            "apps.connections.open": lambda _: {"url": f"ws://{self.root}/socket?ticket={self._ticket()}"},
        }.get(method)
        if handler is None:
            raise Said("unknown_method")
        return handler(arguments)

    def _post_message(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "not_in_channel")
        if channel.archived:
            raise Said("is_archived")
        thread = arguments.get("thread_ts")
        if thread is not None and not any(message["ts"] == thread for message in channel.messages):
            raise Said("thread_not_found")
        error = refused(arguments)
        if any(block["type"] in self.unsupported_blocks for block in arguments.get("blocks") or ()):
            error = error or "invalid_blocks"
        if error is not None:
            raise Said(error)
        kept = ("channel", "thread_ts", "text", "blocks", "metadata", "unfurl_links", "unfurl_media")
        message = {key: arguments[key] for key in kept if arguments.get(key) is not None}
        message |= {"type": "message", "ts": self._ts(), "user": BOT, "bot_id": BOT_ID, "app_id": APP}
        channel.messages.append(message)
        self._changed.set()
        return {"channel": arguments["channel"], "ts": message["ts"], "message": message}

    def _replies(self, arguments: Json) -> Json:
        channel, ts = self._channel(arguments, "not_in_channel"), arguments.get("ts")
        root = [message for message in channel.messages if message["ts"] == ts]
        if not root:
            raise Said("thread_not_found")
        replies = [message for message in channel.messages if message.get("thread_ts") == ts]
        oldest = float(arguments.get("oldest") or 0)
        return self._page(arguments, root + [reply for reply in replies if float(reply["ts"]) > oldest])

    def _history(self, arguments: Json) -> Json:
        channel, oldest = self._channel(arguments, "not_in_channel"), float(arguments.get("oldest") or 0)
        found = [m for m in channel.messages if not m.get("thread_ts") and float(m["ts"]) > oldest]
        return self._page(arguments, found[::-1])

    def _page(self, arguments: Json, messages: list[Json]) -> Json:
        start, limit = int(arguments.get("cursor") or 0), min(int(arguments.get("limit") or 100), self.page)
        shown = messages[start : start + limit]
        if str(arguments.get("include_all_metadata")).lower() not in ("1", "true"):
            shown = [{key: value for key, value in message.items() if key != "metadata"} for message in shown]
        more = start + limit < len(messages)
        cursor = str(start + limit) if more else ""
        return {"messages": shown, "has_more": more, "response_metadata": {"next_cursor": cursor}}

    def _set_status(self, arguments: Json) -> Json:
        self._channel({"channel": arguments.get("channel_id")}, "channel_not_found")
        self.statuses.append(arguments)
        self._changed.set()
        return {}

    def _channel(self, arguments: Json, not_member: str) -> Channel:
        channel = self.channels.get(str(arguments.get("channel")))
        if channel is None:
            raise Said("channel_not_found")
        if not channel.member:
            raise Said(not_member)
        return channel

    async def _response_url(self, request: web.Request) -> web.Response:
        self.ephemerals.append(await request.json())
        self._changed.set()
        return web.json_response({"ok": True})

    def _ts(self) -> str:
        return f"{next(self._clock)}.000100"

    # Socket Mode

    def _ticket(self) -> str:
        ticket = uuid.uuid4().hex
        self.tickets.add(ticket)
        return ticket

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """A ticket is good for one attempt."""
        ticket = request.query.get("ticket", "")
        if ticket not in self.tickets:
            return web.Response(status=408)
        self.tickets.remove(ticket)
        if self.faults["socket"]:
            return await self._fail(request, self.faults["socket"].popleft())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": APP}})
        self.sockets.append(socket)
        self._changed.set()
        async for received in socket:
            if received.type is WSMsgType.TEXT:
                self.acks[json.loads(received.data)["envelope_id"]].set()
        self.sockets.remove(socket)
        return socket

    async def connected(self, seconds: float = 10.0) -> web.WebSocketResponse:
        async with asyncio.timeout(seconds):
            while not self.sockets:
                self._changed.clear()
                await self._changed.wait()
        return self.sockets[-1]

    async def push(self, payload: Json, kind: str = "events_api", ack_seconds: float = ACK_SECONDS) -> int:
        """Send over the socket, again when it is not acknowledged in time; returns the deliveries it took."""
        for attempt in range(4):
            envelope_id = str(uuid.uuid4())
            message = {"type": kind, "envelope_id": envelope_id, "payload": payload, "accepts_response_payload": False}
            if attempt:
                message |= {"retry_attempt": attempt, "retry_reason": "timeout"}
            await (await self.connected()).send_json(message)
            try:
                await asyncio.wait_for(self.acks[envelope_id].wait(), ack_seconds)
            except TimeoutError:
                continue
            return attempt + 1
        raise AssertionError("never acknowledged")

    async def refresh(self) -> None:
        """What Slack does to every connection now and then."""
        await self.sockets[-1].send_json({"type": "disconnect", "reason": "refresh_requested"})


def envelope(event: Json, **more: Any) -> Json:
    """The body of an Events API delivery."""
    return {
        "token": "verification",
        "team_id": TEAM,
        "api_app_id": APP,
        "event": event,
        "type": "event_callback",
        "event_id": f"Ev{uuid.uuid4().hex[:10].upper()}",
        "event_time": int(time.time()),
        "authorizations": [{"enterprise_id": None, "team_id": TEAM, "user_id": BOT, "is_bot": True}],
        "is_ext_shared_channel": False,
        **more,
    }


def signed(body: bytes, timestamp: str | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers that Slack signs a request with."""
    timestamp = timestamp if timestamp is not None else str(int(time.time()))
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


async def send_event(url: str, body: Json, retry: int = 0) -> int:
    """Deliver an event as Slack does; returns the status, or 0 where no answer came within 3 s."""
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **signed(raw)}
    if retry:
        headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"}
    return await send_raw(url, raw, headers)


async def send_click(url: str, payload: Json) -> int:
    raw = urlencode({"payload": json.dumps(payload)}).encode()
    return await send_raw(url, raw, {"Content-Type": "application/x-www-form-urlencoded", **signed(raw)})


async def send_raw(url: str, body: bytes, headers: dict[str, str]) -> int:
    timeout = aiohttp.ClientTimeout(total=ACK_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.post(url, data=body, headers=headers) as reply:
            await reply.read()
            return reply.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0


async def _arguments(request: web.Request) -> Json:
    """JSON, form and query alike; nested values of a form are JSON text."""
    arguments: Json = dict(request.query)
    if request.content_type == "application/json":
        return {**arguments, **await request.json()}
    for key, value in (await request.post()).items():
        arguments[key] = json.loads(str(value)) if key in ("blocks", "metadata") else str(value)
    return arguments


def _token(request: web.Request, arguments: Json) -> str:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bearer or str(arguments.get("token", ""))
