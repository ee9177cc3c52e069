"""Socket Mode: events over a connection that we open, for a bot without a public address."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

log = structlog.get_logger()

CONNECT_SECONDS = 15.0
PATIENCE = 30.0  # the SDK reconnects by itself; after this long without, it is replaced
LONGEST_BACKOFF = 60.0


class SocketMode:
    """Keeps one connection open, for ever: whatever ends it, a new one follows."""

    def __init__(self, app: AsyncApp, client: AsyncWebClient, app_token: str, logger: logging.Logger) -> None:
        self._app = app
        self._client = client
        self._token = app_token
        self._logger = logger
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="slack-socket-mode")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        delay = 1.0
        while True:
            handler = AsyncSocketModeHandler(
                self._app, self._token, logger=self._logger, web_client=self._client, ping_interval=5
            )
            try:
                await self._connect(handler)
                log.info("slack.connected")
                delay = 1.0
                await self._until_lost(handler)
                log.warning("slack.connection_lost")
            except (SlackClientError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.warning("slack.cannot_connect", error=type(error).__name__, seconds=delay)
            finally:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await asyncio.shield(handler.client.close())  # type: ignore[no-untyped-call]
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all come back at once
            delay = min(LONGEST_BACKOFF, delay * 2)

    async def _connect(self, handler: AsyncSocketModeHandler) -> None:
        """The SDK would retry one address for ever; a fresh one is asked for here, and time is limited."""
        async with asyncio.timeout(CONNECT_SECONDS):
            handler.client.wss_uri = await handler.client.issue_new_wss_url()
            await handler.client.connect()  # type: ignore[no-untyped-call]

    async def _until_lost(self, handler: AsyncSocketModeHandler) -> None:
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while loop.time() - seen < PATIENCE:
            await asyncio.sleep(1.0)
            if await handler.client.is_connected():
                seen = loop.time()
