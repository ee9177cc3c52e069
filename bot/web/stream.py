"""Server-sent events to one asker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

HEARTBEAT_SECONDS = 15.0  # proxies close connections that say nothing
LOOK_SECONDS = 0.5  # how soon it is seen that the asker has gone
WRITE_SECONDS = 30.0  # an asker who reads nothing for this long has gone


class AskerGone(Exception):
    """Nobody reads this stream any more."""


class EventStream:
    """Events leave one by one, as they are sent. Use inside ``attended``, which ends the work when the asker goes."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._last = 0.0

    async def send(self, name: str, data: dict[str, Any]) -> None:
        await self._write(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data)))

    async def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._response.write_eof()

    @contextlib.asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Run the body for as long as the asker is there; ``AskerGone`` otherwise."""
        self._last = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as presence:
                watch = asyncio.create_task(self._watch(presence), name="web-asker")
                try:
                    yield
                finally:
                    watch.cancel()
        except TimeoutError:
            if presence.expired():
                raise AskerGone from None
            raise

    async def _watch(self, presence: asyncio.Timeout) -> None:
        clock = asyncio.get_running_loop().time
        while not self._is_gone():
            await asyncio.sleep(LOOK_SECONDS)
            if clock() - self._last >= HEARTBEAT_SECONDS:
                with contextlib.suppress(AskerGone):
                    await self._write(b": still working\n\n")
        presence.reschedule(clock())

    async def _write(self, data: bytes) -> None:
        self._last = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._response.write(data)
        except (ConnectionError, TimeoutError):
            raise AskerGone from None

    def _is_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()
