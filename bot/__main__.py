"""``python -m bot``: the front ends on one port."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import structlog
import uvloop
from aiohttp import web

from assistant.errors import AlmanacError, SettingsError
from assistant.process import LISTENING_SOCKET, stop_requested
from assistant.services import Services, open_services
from assistant.settings import Settings, load_settings
from assistant.telemetry import configure_logs
from assistant.tracing import configure_tracing
from bot.app import create_application

log = structlog.get_logger()

SHUTDOWN_SECONDS = 10.0


async def serve(settings: Settings, database_url: str) -> None:
    async with open_services(settings, database_url) as services:
        runner = web.AppRunner(create_application(services), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await _site(runner, settings).start()
            log.info("bot.start", pid=os.getpid(), host=settings.host, port=settings.port)
            warming = asyncio.create_task(_warm(services), name="warm-up")
            await stop_requested()
            warming.cancel()
        finally:
            await runner.cleanup()
    log.info("bot.stop", pid=os.getpid())


def _site(runner: web.AppRunner, settings: Settings) -> web.BaseSite:
    given = os.environ.get(LISTENING_SOCKET)
    if given is None:
        return web.TCPSite(runner, settings.host, settings.port)
    return web.SockSite(runner, socket.socket(fileno=int(given)))


async def _warm(services: Services) -> None:
    """Load the models, and ask the sources of tools for them, before somebody waits for it."""
    await services.embedder.embed_query("warm up")
    await services.answering.warm()
    await services.toolbox.all()


def main() -> int:
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        if settings.database_url is None:
            raise SettingsError("ALMANAC_DATABASE_URL is not set; `almanac up` starts a database and the bot.")
        end_traces = configure_tracing(settings, "almanac-bot")
        try:
            uvloop.run(serve(settings, settings.database_url.get_secret_value()))
        finally:
            end_traces()
    except AlmanacError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"The bot cannot listen: {error.strerror or error}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
