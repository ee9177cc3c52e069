"""``almanac serve``: the server of models alone, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from assistant.process import PARENT_PIPE
from assistant.settings import Settings
from bot.backend import command_settings, open_database
from bot.local_model import MODULE, serving_environment


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="The address; any but loopback needs ALMANAC_SERVE_KEY.")] = None,
) -> None:
    """Serve the base model and every promoted version of it, over OpenAI's API. Ctrl-C stops it."""
    given = {name: value for name, value in (("serve_port", port), ("serve_host", host)) if value is not None}
    settings = command_settings(**given)
    raise typer.Exit(asyncio.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    """The database is only for the registry: that of the running Almanac, or the embedded one for as long."""
    async with open_database(settings) as url:
        environment = serving_environment(url) | {
            "ALMANAC_HOME": str(settings.home.resolve()),
            "ALMANAC_SERVE_HOST": settings.serve_host,
            "ALMANAC_SERVE_PORT": str(settings.serve_port),
            PARENT_PIPE: "1",
        }
        environment.setdefault("ALMANAC_LOG_FORMAT", "console" if sys.stderr.isatty() else "json")
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULE, env=environment, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, server)
        return await server.wait()


def _stop(server: asyncio.subprocess.Process) -> None:
    if server.returncode is None:
        os.kill(server.pid, signal.SIGTERM)
