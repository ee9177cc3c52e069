"""Teams' cloud as far as a bot sees it: issuer of signed tokens, login service, Bot Connector.

It refuses what the real ones refuse (``rules.py``) and keeps what people would see: ``visible`` to everybody in a
conversation, ``private`` to one of them. A Teams second lasts ``second`` real ones.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.teams.issuer import APP_ID, BOT, SECRET, TENANT, Issuer
from tests.teams.keys import private_key, write_certificate
from tests.teams.rules import MAX_BODY, ROOT_MESSAGE, Rates, Refusal, Stream, check_message

__all__ = ["APP_ID", "BOT", "ROOT_MESSAGE", "SECRET", "TENANT", "Fault", "TeamsDouble", "private_key", "teams_double",
           "write_certificate"]  # fmt: skip

STREAM_LIFE = 120.0  # Teams seconds


@dataclass
class Fault:
    """What happens to a call: an error status, or the message is taken and the connection dropped.

    ``after`` calls of the method go through before it. ``what`` narrows it: ``stream``, ``final`` or ``plain``.
    """

    method: str
    after: int = 0
    status: int = 0
    retry_after: str | None = None
    drop: bool = False
    what: str = ""
    message: str = "Fault"


@dataclass
class Recorded:
    """One request: what it was, what it carried, and what became of it."""

    method: str
    path: str
    query: str
    body: dict[str, Any]
    outcome: str
    at: float

    @property
    def streamed(self) -> dict[str, Any]:
        entities = self.body.get("entities") or []
        return next((entity for entity in entities if entity.get("type") == "streaminfo"), {})


def _opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class TeamsDouble(Issuer):
    faults: list[Fault] = field(default_factory=list)
    latency: float = 0.0
    gate: asyncio.Event = field(default_factory=_opened)  # no call goes on while it is not set
    second: float = 1.0
    stream_life: float = STREAM_LIFE
    streams_allowed: bool = True
    targeted_allowed: bool = True
    chats_open: bool = True
    updates_after_stop: bool = True
    visible: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # conversation -> id -> activity
    private: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # the same, targeted
    streams: dict[str, Stream] = field(default_factory=dict)
    members: dict[str, dict[str, str]] = field(default_factory=dict)  # any of a person's names -> the account
    stored_files: dict[str, bytes] = field(default_factory=dict)
    typing: list[str] = field(default_factory=list)  # conversations
    deleted: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, float]] = field(default_factory=list)  # method, outcome, time
    requests: list[Recorded] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)  # what the rules refused, faults left out
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    rates: Rates = field(default_factory=Rates)

    # what a test asks and arranges

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        """What everybody sees, but for cards."""
        return [message for message in self.visible.get(conversation, {}).values() if message.get("text")]

    def cards(self, conversation: str) -> list[dict[str, Any]]:
        """Cards that everybody or somebody sees."""
        shelves = (self.visible.get(conversation, {}), self.private.get(conversation, {}))
        return [message for shelf in shelves for message in shelf.values() if message.get("attachments")]

    def texts(self, conversation: str) -> list[str]:
        return [message.get("text", "") for message in self.messages(conversation)]

    def whispers(self, conversation: str) -> list[dict[str, Any]]:
        """What only one person sees."""
        return [message for message in self.private.get(conversation, {}).values() if message.get("text")]

    def steps(self, conversation: str = "") -> list[Recorded]:
        """The requests of streams, in order."""
        return [call for call in self.requests if call.streamed and conversation in call.path]

    def stop(self, conversation: str) -> None:
        """The person presses Stop."""
        for stream in self.streams.values():
            if stream.conversation == conversation and stream.open(time.monotonic(), self._life):
                stream.cancelled = True

    @property
    def _life(self) -> float:
        return self.stream_life * self.second

    async def wait_for(self, condition: Any, timeout: float = 60.0) -> None:
        """Wait until ``condition()`` holds; it is looked at after each call."""
        async with asyncio.timeout(timeout):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    # the Bot Connector

    async def post(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, self._post)

    async def put(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, self._put)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, self._delete)

    async def open_chat(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, self._open_chat)

    async def member(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, self._member)

    async def file(self, request: web.Request) -> web.Response:
        """Where Teams keeps what people sent: the address carries its own key, a token is an error."""
        if "Authorization" in request.headers:
            return web.Response(status=401)
        found = self.stored_files.get(request.match_info["name"])
        return web.Response(status=404) if found is None else web.Response(body=found)

    async def _call(self, request: web.Request, take: Any) -> web.StreamResponse:
        if self.latency:
            await asyncio.sleep(self.latency)
        await self.gate.wait()
        raw = await request.read()
        body = json.loads(raw) if raw else {}
        fault = self._fault(request.method, body)
        try:
            if fault is not None and fault.status:
                raise Refusal(fault.status, "Fault", fault.message)
            self._admit(request, raw)
            status, answer = take(request, body)
        except Refusal as error:
            if fault is None:
                self.violations.append(str(error))
            self._note(request, body, str(error.status))
            return _refuse(error, fault.retry_after if fault else None)
        self._note(request, body, "dropped" if fault else "taken")
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return web.json_response(answer, status=status)

    def _fault(self, method: str, body: dict[str, Any]) -> Fault | None:
        kind = _kind(body)
        fault = next((found for found in self.faults if found.method == method and found.what in {"", kind}), None)
        if fault is None or not fault.after:
            if fault is not None:
                self.faults.remove(fault)
            return fault
        fault.after -= 1
        return None

    def _admit(self, request: web.Request, raw: bytes) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens and self.login_url:
            raise Refusal(401, "Unauthorized")
        if len(raw) > MAX_BODY:
            raise Refusal(413, "MessageSizeTooBig")
        self.rates.second = self.second
        self.rates.check(request.match_info.get("conversation", ""), time.monotonic())

    def _post(self, request: web.Request, body: dict[str, Any]) -> tuple[int, Any]:
        conversation = request.match_info["conversation"]
        entities = body.get("entities") or []
        info = next((entity for entity in entities if entity.get("type") == "streaminfo"), None)
        if info is not None:
            return self._stream(conversation, body, info)
        if body.get("type") == "typing":
            self.typing.append(conversation)
            return 201, {"id": uuid.uuid4().hex[:12]}
        check_message(body, personal=_personal(conversation))
        shelf = self._shelf(request, conversation)
        if shelf is self.private.get(conversation) and not body.get("recipient", {}).get("id"):
            raise Refusal(400, "BadArgument", "a targeted message needs a recipient")
        activity_id = uuid.uuid4().hex[:12]
        shelf[activity_id] = body
        return 201, {"id": activity_id}

    def _put(self, request: web.Request, body: dict[str, Any]) -> tuple[int, Any]:
        conversation, activity_id = request.match_info["conversation"], request.match_info["activity"]
        shelf = self._shelf(request, conversation)
        stream = self.streams.get(activity_id)
        if stream is not None and stream.open(time.monotonic(), self._life):
            raise Refusal(403, "ContentStreamNotAllowed", "the message is being streamed")
        if stream is not None and stream.cancelled and not self.updates_after_stop:
            raise Refusal(403, "Forbidden", "the stream was canceled")
        if activity_id not in shelf:
            raise Refusal(404, "ActivityNotFoundInConversation")
        if shelf is self.private.get(conversation) and body.get("recipient"):
            raise Refusal(400, "BadArgument", "an update of a targeted message names nobody")
        check_message(body, personal=_personal(conversation))
        shelf[activity_id] = body
        return 200, {"id": activity_id}

    def _delete(self, request: web.Request, body: dict[str, Any]) -> tuple[int, Any]:
        activity_id = request.match_info["activity"]
        shelf = self._shelf(request, request.match_info["conversation"])
        if activity_id not in shelf:
            raise Refusal(404, "ActivityNotFoundInConversation")
        del shelf[activity_id]
        self.deleted.append(activity_id)
        return 200, {}

    def _shelf(self, request: web.Request, conversation: str) -> dict[str, dict[str, Any]]:
        if request.query.get("isTargetedActivity") != "true":
            return self.visible.setdefault(conversation, {})
        if not self.targeted_allowed or _personal(conversation):
            raise Refusal(400, "BadArgument", "no targeted messages here")
        return self.private.setdefault(conversation, {})

    def _stream(self, conversation: str, body: dict[str, Any], info: dict[str, Any]) -> tuple[int, Any]:
        now, stream_id = time.monotonic(), info.get("streamId")
        if not _personal(conversation) or body.get("conversation", {}).get("conversationType") != "personal":
            raise Refusal(405, "MethodNotAllowed", "streams are for personal chats")
        if not self.streams_allowed:
            raise Refusal(403, "ContentStreamNotAllowed", "Content stream is not allowed")
        if stream_id is None:
            mine = (found for found in self.streams.values() if found.conversation == conversation)
            if any(found.open(now, self._life) for found in mine):
                raise Refusal(403, "ContentStreamNotAllowed", "Content stream is not allowed: one at a time")
            stream = Stream(uuid.uuid4().hex[:12], conversation, now, float("-inf"))
        elif (found := self.streams.get(stream_id)) is None or found.conversation != conversation:
            raise Refusal(404, "ActivityNotFoundInConversation")
        else:
            stream = found
            stream.check_open(now, self._life)
        if now - stream.last < self.second:
            raise Refusal(429, "TooManyRequests", "API calls quota exceeded", self.second)
        if body.get("type") == "message":
            return self._finish(stream, body, info)
        if body.get("type") != "typing" or len(body.get("entities") or []) != 1 or body.get("attachments"):
            raise Refusal(400, "BadRequest", "a stream's update carries text alone")
        if not stream.step(info, body.get("text", "")):
            stream.last = now
            return 202, {"error": {"code": "ContentStreamSequenceOrderPreConditionFailed"}}
        stream.last = now
        self.streams[stream.id] = stream
        if stream.text:
            self.visible.setdefault(conversation, {})[stream.id] = body
        return (202, {}) if stream_id else (201, {"id": stream.id})

    def _finish(self, stream: Stream, body: dict[str, Any], info: dict[str, Any]) -> tuple[int, Any]:
        if info.get("streamType") != "final" or "streamSequence" in info or stream.sequence == 0:
            raise Refusal(400, "BadRequest", "the final message has no sequence")
        check_message(body, personal=True)
        stream.completed = True
        self.visible.setdefault(stream.conversation, {})[stream.id] = body
        return 202, {}

    def _open_chat(self, request: web.Request, body: dict[str, Any]) -> tuple[int, Any]:
        if not self.chats_open:
            raise Refusal(403, "BotNotInConversationRoster", "the app is not installed for this person")
        members = body.get("members") or []
        if body.get("isGroup") or len(members) != 1 or not (body.get("tenantId") or body.get("tenantID")):
            raise Refusal(400, "BadArgument")
        return 201, {"id": f"a:chat-with-{members[0]['id']}"}

    def _member(self, request: web.Request, body: dict[str, Any]) -> tuple[int, Any]:
        found = self.members.get(request.match_info["member"])
        if found is None:
            raise Refusal(404, "MemberNotFoundInConversation")
        return 200, found

    def _note(self, request: web.Request, body: dict[str, Any], outcome: str) -> None:
        now = time.monotonic()
        self.calls.append((request.method, outcome, now))
        self.requests.append(Recorded(request.method, request.path, request.query_string, body, outcome, now))
        self.changed.set()


def _personal(conversation: str) -> bool:
    return conversation.startswith("a:")


def _kind(body: dict[str, Any]) -> str:
    streamed = any(entity.get("type") == "streaminfo" for entity in body.get("entities") or [])
    if not streamed:
        return "plain"
    return "final" if body.get("type") == "message" else "stream"


def _refuse(error: Refusal, retry_after: str | None) -> web.Response:
    headers = {}
    if retry_after or error.retry_after is not None:
        headers["Retry-After"] = retry_after or f"{error.retry_after:.2f}"
    body = {"error": {"code": error.code, "message": error.message}}
    return web.json_response(body, status=error.status, headers=headers)


@asynccontextmanager
async def teams_double(certificate: tuple[Path, Path] | None) -> AsyncIterator[TeamsDouble]:
    """Start it; without a certificate there is no login service, and calls need no token (as in the Playground)."""
    double = TeamsDouble()
    application = web.Application(client_max_size=1024 * 1024)
    conversation = "/amer/v3/conversations/{conversation}/activities"
    application.router.add_get("/v1/.well-known/openidconfiguration", double.metadata)
    application.router.add_get("/keys", double.keys)
    application.router.add_post(conversation, double.post)
    application.router.add_post(conversation + "/{activity}", double.post)
    application.router.add_put(conversation + "/{activity}", double.put)
    application.router.add_delete(conversation + "/{activity}", double.delete)
    application.router.add_post("/amer/v3/conversations", double.open_chat)
    application.router.add_get("/amer/v3/conversations/{conversation}/members/{member}", double.member)
    application.router.add_get("/files/{name}", double.file)
    application.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", double.authority)
    application.router.add_post("/{tenant}/oauth2/v2.0/token", double.issue)
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    double.url = f"http://127.0.0.1:{await _listen(runner)}"
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        double.login_url = f"https://127.0.0.1:{await _listen(runner, context)}"
    try:
        yield double
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, context: ssl.SSLContext | None = None) -> int:
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return int(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
