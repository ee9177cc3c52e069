"""An ASGI application behind an aiohttp route: the protocol's package speaks the one, our server the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aiohttp import web

LOOK_SECONDS = 0.5  # how soon it is seen that the client has gone

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


async def respond(request: web.Request, application: Application, extra: Message) -> web.StreamResponse:
    """Run the application for one request. ``extra`` is put into its scope."""
    body = await request.read()
    sent = False
    response = web.StreamResponse()

    async def receive() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(LOOK_SECONDS)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.set_status(message["status"])
            for name, value in message.get("headers", ()):
                if name.lower() not in (b"content-length", b"transfer-encoding"):
                    response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await response.prepare(request)
        elif message["type"] == "http.response.body" and message.get("body"):
            with contextlib.suppress(ConnectionError):
                await response.write(message["body"])

    await application(_scope(request, extra), receive, send)
    with contextlib.suppress(ConnectionError):
        await response.write_eof()
    return response


def _scope(request: web.Request, extra: Message) -> Message:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query_string.encode(),
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        **extra,
    }
