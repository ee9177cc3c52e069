"""Socket Mode of the double: tickets, envelopes that come again, refreshed connections."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from typing import Any

from aiohttp import WSMsgType, web

ACK_SECONDS = 3.0  # as long as Slack waits
PATIENCE = 30.0  # of tests that are about something else, on a machine that may stall

Json = dict[str, Any]


class Sockets:
    """Connections that the bot opened. ``replies``: what it acknowledged with, by envelope."""

    def __init__(self, changed: asyncio.Event, app_id: str) -> None:
        self.open: list[web.WebSocketResponse] = []
        self.replies: dict[str, Json] = {}
        self._tickets: set[str] = set()
        self._acks: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._changed = changed
        self._app_id = app_id

    def ticket(self) -> str:
        ticket = uuid.uuid4().hex
        self._tickets.add(ticket)
        return ticket

    def admits(self, ticket: str) -> bool:
        """A ticket is good for one attempt."""
        known = ticket in self._tickets
        self._tickets.discard(ticket)
        return known

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": self._app_id}})
        self.open.append(socket)
        self._changed.set()
        async for received in socket:
            if received.type is WSMsgType.TEXT:
                reply = json.loads(received.data)
                self.replies[reply["envelope_id"]] = reply
                self._acks[reply["envelope_id"]].set()
        self.open.remove(socket)
        return socket

    async def connected(self, seconds: float = 60.0) -> web.WebSocketResponse:
        async with asyncio.timeout(seconds):
            while not self.open:
                self._changed.clear()
                await self._changed.wait()
        return self.open[-1]

    async def push(self, payload: Json, kind: str = "events_api", ack_seconds: float = PATIENCE) -> tuple[int, Json]:
        """Send, again when it is not acknowledged in time; returns the deliveries it took, and the reply's payload."""
        for attempt in range(4):
            envelope_id = str(uuid.uuid4())
            message = {"type": kind, "envelope_id": envelope_id, "payload": payload,
                       "accepts_response_payload": kind != "events_api"}  # fmt: skip
            if attempt:
                message |= {"retry_attempt": attempt, "retry_reason": "timeout"}
            await (await self.connected()).send_json(message)
            try:
                await asyncio.wait_for(self._acks[envelope_id].wait(), ack_seconds)
            except TimeoutError:
                continue
            return attempt + 1, self.replies[envelope_id].get("payload") or {}
        raise AssertionError("never acknowledged")

    async def refresh(self) -> None:
        """What Slack does to every connection now and then."""
        await self.open[-1].send_json({"type": "disconnect", "reason": "refresh_requested"})

    async def close(self) -> None:
        for socket in list(self.open):
            await socket.close()
