"""A Slack on a local socket: its Web API with limits and errors, its signed deliveries, its Socket Mode."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import time
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from tests.slack.limits import refused
from tests.slack.sockets import ACK_SECONDS, PATIENCE, Sockets
from tests.slack.tiers import Tiers
from tests.slack.web_api import (
    ANNA,
    APP,
    APP_TOKEN,
    BEN,
    BOT,
    BOT_ID,
    BOT_TOKEN,
    CHANNEL,
    DM,
    TEAM,
    Channel,
    Said,
    WebApi,
)

__all__ = ["ACK_SECONDS", "ANNA", "APP", "APP_TOKEN", "BEN", "BOT", "BOT_ID", "BOT_TOKEN", "CHANNEL", "DM", "SECRET",
           "TEAM", "Channel", "Fault", "SlackDouble", "deliver", "envelope", "send_click", "send_event", "send_form",
           "send_raw", "shown", "signed"]  # fmt: skip

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
RESPONSE_USES, RESPONSE_SECONDS = 5, 30 * 60.0

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


class SlackDouble(WebApi):
    """Start it with ``running``. ``visible`` is what people see of the bot."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        super().__init__(self._changed)
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.calls: list[tuple[str, Json]] = []
        self.tiers = Tiers()
        self.sockets = Sockets(self._changed, APP)
        self.base_url = ""
        self._responses: dict[str, tuple[float, int]] = {}  # when a response_url was made, and how often it was used

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SlackDouble]:
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/api/{method}", self._api)
        application.router.add_post("/response/{id}", self._response_url)
        application.router.add_get("/files/{id}", self._file)
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
            await self.sockets.close()
            await runner.cleanup()

    # what people do

    def says(self, user: str, text: str, channel: str = CHANNEL, thread_ts: str | None = None, **more: Any) -> Json:
        """A person writes; returns the message."""
        message = {"type": "message", "user": user, "text": text, "ts": self.ts(), "channel": channel, **more}
        if thread_ts:
            message["thread_ts"] = thread_ts
        self.channels[channel].messages.append(message)
        return message

    def mention(self, question: str, user: str = ANNA, thread_ts: str | None = None, **event: Any) -> Json:
        """The event for a message in the channel that mentions the bot."""
        message = self.says(user, f"<@{BOT}> {question}", thread_ts=thread_ts)
        return envelope({**message, "type": "app_mention", **event})

    def plain(self, text: str, user: str = ANNA, thread_ts: str | None = None, **event: Any) -> Json:
        """The event for a message in the channel that mentions nobody."""
        message = self.says(user, text, thread_ts=thread_ts)
        return envelope({**message, "channel_type": "channel", **event})

    def direct(self, question: str, user: str = ANNA, **event: Any) -> Json:
        message = self.says(user, question, channel=DM)
        return envelope({**message, "channel_type": "im", **event})

    def edits(self, body: Json, text: str) -> Json:
        """Somebody changes what they wrote; the event for it."""
        message = self._message(body["event"])
        old = dict(message)
        message.update(text=text, edited={"user": message["user"], "ts": self.ts()})
        return envelope(_changed(dict(message), old, body["event"], self.ts()))

    def deletes(self, body: Json) -> Json:
        """Somebody takes back what they wrote; a thread's root with replies leaves a tombstone."""
        message = self._message(body["event"])
        channel = self.channels[message["channel"]]
        if any(other.get("thread_ts") == message["ts"] for other in channel.messages):
            old = dict(message)
            message.update(text="This message was deleted.", subtype="tombstone", hidden=True, user="USLACKBOT")
            return envelope(_changed(dict(message), old, body["event"], self.ts()))
        channel.messages.remove(message)
        return envelope(
            {
                "type": "message", "subtype": "message_deleted", "channel": message["channel"], "hidden": True,
                "deleted_ts": message["ts"], "previous_message": message, "ts": self.ts(), "event_ts": self.ts(),
            }
        )  # fmt: skip

    def _message(self, event: Json) -> Json:
        return next(m for m in self.channels[event["channel"]].messages if m["ts"] == event["ts"])

    def share(self, name: str, content: bytes, **more: Any) -> Json:
        """A file at Slack, as it stands in a message's ``files``."""
        file_id = f"F{uuid.uuid4().hex[:9].upper()}"
        url = f"http://{self.root}/files/{file_id}"
        file = {"id": file_id, "name": name, "size": len(content), "url_private_download": url, **more}
        self.files[file_id] = {**file, "content": content, "permalink": f"https://example.slack.com/files/{file_id}"}
        return file

    def click(self, message: Json, thumb: str, user: str = ANNA) -> Json:
        """The payload for a click on a thumb below ``message``: positive or negative."""
        block = next(block for block in message["blocks"] if block["type"] == "context_actions")
        button = block["elements"][0]
        action = {"type": "feedback_buttons", "action_id": button["action_id"], "block_id": block["block_id"],
                  "value": button[f"{thumb}_button"]["value"], "action_ts": self.ts()}  # fmt: skip
        return self._clicked(message, action, user)

    def press(self, message: Json, action_id: str, user: str = ANNA) -> Json:
        """The payload for a click on a button of ``message``, which people or one person sees."""
        for block in message["blocks"]:
            for element in [*block.get("elements", ()), *([block["accessory"]] if "accessory" in block else [])]:
                if str(element.get("action_id", "")).partition(":")[0] == action_id:
                    action = {"type": "button", "action_id": element["action_id"], "block_id": block["block_id"],
                              "value": element.get("value", ""), "action_ts": self.ts()}  # fmt: skip
                    return self._clicked(message, action, user)
        raise AssertionError(f"there is no button {action_id}")

    def _clicked(self, message: Json, action: Json, user: str) -> Json:
        container = {
            "type": "message",
            "message_ts": message.get("ts") or self.ts(),
            "channel_id": message.get("channel", CHANNEL),
            "is_ephemeral": "bot_id" not in message,
        }
        if message.get("thread_ts"):
            container["thread_ts"] = message["thread_ts"]
        return {
            "type": "block_actions",
            "user": {"id": user, "team_id": TEAM},
            "team": {"id": TEAM, "domain": "example"},
            "api_app_id": APP,
            "container": container,
            "channel": {"id": message.get("channel", CHANNEL)},
            "message": message,
            "trigger_id": self.trigger(),
            "response_url": self.response_url(),
            "actions": [action],
        }

    def types(self, text: str, user: str = ANNA, channel: str = CHANNEL) -> Json:
        """The form of a slash command."""
        return {
            "command": "/almanac", "text": text, "user_id": user, "team_id": TEAM, "channel_id": channel,
            "channel_name": "general", "api_app_id": APP, "trigger_id": self.trigger(), "token": "verification",
            "response_url": self.response_url(),
        }  # fmt: skip

    def submits(self, view: Json, values: Json, user: str = ANNA) -> Json:
        """The payload for a modal that is sent; ``values``: block -> action -> value."""
        shown = {**view, "state": {"values": values}}
        return {"type": "view_submission", "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM},
                "api_app_id": APP, "view": shown, "trigger_id": self.trigger()}  # fmt: skip

    def chooses(self, callback: str, message: Json | None = None, user: str = ANNA) -> Json:
        """The payload of a shortcut."""
        common = {"callback_id": callback, "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM},
                  "trigger_id": self.trigger(), "action_ts": self.ts(), "api_app_id": APP}  # fmt: skip
        if message is None:
            return {"type": "shortcut", **common}
        return {"type": "message_action", **common, "channel": {"id": message["channel"]}, "message": message,
                "message_ts": message["ts"], "response_url": self.response_url()}  # fmt: skip

    def response_url(self) -> str:
        name = uuid.uuid4().hex
        self._responses[name] = (time.monotonic(), 0)
        return f"http://{self.root}/response/{name}"

    # what people see

    @property
    def visible(self) -> list[Json]:
        """The bot's messages, oldest first."""
        everything = [message for channel in self.channels.values() for message in channel.messages]
        return sorted((m for m in everything if m.get("bot_id") == BOT_ID), key=lambda m: float(m["ts"]))

    async def until(self, count: int, seconds: float = 60.0) -> list[Json]:
        """Wait for that many messages of the bot that are whole."""
        await self.wait(lambda: len(self.visible) >= count and not self.open_streams(), seconds)
        return self.visible

    async def until_ephemeral(self, count: int, seconds: float = 60.0) -> list[Json]:
        await self.wait(lambda: len(self.ephemerals) >= count, seconds)
        return self.ephemerals

    async def wait(self, holds: Callable[[], Any], seconds: float = 60.0) -> None:
        """Until something is so."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def called(self, method: str) -> list[Json]:
        return [arguments for name, arguments in self.calls if name == method]

    # what comes in

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments = await _arguments(request)
        self.calls.append((method, arguments))
        wait = self.tiers.wait(method, str(arguments.get("channel") or ""))
        if wait is not None:
            limited = Fault(429, "ratelimited", str(max(0.01, math.ceil(wait * 100) / 100)))
            return await self._fail(request, limited)
        fault = self.faults[method].popleft() if self.faults[method] else None
        if fault is not None and not fault.effect_first:
            return await self._fail(request, fault)
        try:
            reply = {"ok": True, **self.handle(method, _token(request, arguments), arguments)}
        except Said as said:
            reply = {"ok": False, "error": said.error}
            if said.needed:
                reply |= {"needed": said.needed, "provided": "chat:write"}
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

    def _apps_connections_open(self, _arguments: Json) -> Json:
        return {"url": f"ws://{self.root}/socket?ticket={self.sockets.ticket()}"}

    async def _response_url(self, request: web.Request) -> web.Response:
        """Five uses within thirty minutes."""
        name = request.match_info["id"]
        if name not in self._responses:
            return web.json_response({"ok": False, "error": "expired_url"}, status=404)
        made, used = self._responses[name]
        if used >= RESPONSE_USES or time.monotonic() - made > RESPONSE_SECONDS:
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        body = await request.json()
        if error := refused(body):
            return web.json_response({"ok": False, "error": error}, status=400)
        self._responses[name] = (made, used + 1)
        self.ephemerals.append(body)
        self._changed.set()
        return web.json_response({"ok": True})

    async def _file(self, request: web.Request) -> web.Response:
        """With the bot's token the file, without it the page to sign in at."""
        if request.headers.get("Authorization") != f"Bearer {BOT_TOKEN}" or "files:read" in self.missing:
            return web.Response(status=302, headers={"Location": f"http://{self.root}/signin"})
        self.calls.append(("GET file", {"file": request.match_info["id"]}))
        return web.Response(body=self.files[request.match_info["id"]]["content"])

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self.sockets.admits(request.query.get("ticket", "")):
            return web.Response(status=408)
        if self.faults["socket"]:
            return await self._fail(request, self.faults["socket"].popleft())
        return await self.sockets.serve(request)

    async def push(self, payload: Json, kind: str = "events_api", ack_seconds: float = PATIENCE) -> int:
        return (await self.sockets.push(payload, kind, ack_seconds))[0]


def shown(message: Json) -> str:
    """The words of a message, as people read them."""
    blocks = message.get("blocks") or []
    texts = [block["text"] for block in blocks if block["type"] == "markdown"]
    return "\n".join(texts) if texts else str(message.get("text") or "")


def _changed(new: Json, old: Json, event: Json, ts: str) -> Json:
    changed = {"type": "message", "subtype": "message_changed", "channel": event["channel"], "hidden": True,
               "message": new, "previous_message": old, "ts": ts, "event_ts": ts}  # fmt: skip
    return {**changed, "channel_type": event.get("channel_type") or "channel"}


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
    """Deliver an event as Slack does; returns the status, or 0 where no answer came."""
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **signed(raw)}
    if retry:
        headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"}
    return await send_raw(url, raw, headers)


async def deliver(url: str, body: Json, retry: int = 0) -> int:
    """Deliver an event until it is acknowledged; returns how many tries it took."""
    for attempt in range(retry, retry + 8):
        if await send_event(url, body, attempt) == 200:
            return attempt - retry + 1
    raise AssertionError("never acknowledged")


async def send_click(url: str, payload: Json) -> int:
    """Buttons, shortcuts and modals come as a form with one field."""
    return (await send_form(url, {"payload": json.dumps(payload)}))[0]


async def send_form(url: str, form: Json) -> tuple[int, Any]:
    """A form, as slash commands come; returns the status and what the acknowledgement says."""
    raw = urlencode(form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", **signed(raw)}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.post(url, data=raw, headers=headers) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text.startswith("{") else text
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0, ""


async def send_raw(url: str, body: bytes, headers: dict[str, str]) -> int:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.post(url, data=body, headers=headers) as reply:
            await reply.read()
            return reply.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0


async def _arguments(request: web.Request) -> Json:
    """JSON, form and query alike; nested values of a form or a query are JSON text."""
    arguments: Json = {key: _nested(key, value) for key, value in request.query.items()}
    if request.content_type == "application/json":
        body = await request.json() if request.can_read_body else {}
        return {**arguments, **{key: _nested(key, value) for key, value in body.items()}}
    for key, value in (await request.post()).items():
        arguments[key] = _nested(key, str(value))
    return arguments


def _nested(key: str, value: Any) -> Any:
    inner = key in ("blocks", "metadata", "view", "prompts", "unfurls", "chunks")
    return json.loads(value) if inner and isinstance(value, str) else value


def _token(request: web.Request, arguments: Json) -> str:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bearer or str(arguments.get("token", ""))
