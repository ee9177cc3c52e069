"""``almanac mcp``: the same tools over standard input and output, for programs on this machine."""

from __future__ import annotations

import asyncio

import typer

from assistant.settings import Settings
from bot.backend import command_settings, open_local

app = typer.Typer()


@app.command(epilog='Example, in a client\'s settings: {"command": "almanac", "args": ["mcp"]}')
def mcp() -> None:
    """Serve search, ask and get_document by the Model Context Protocol on standard input and output.

    What everyone may read is served. For what one person may read, let the program use /mcp with a key of theirs.
    """
    asyncio.run(_serve(command_settings()))


async def _serve(settings: Settings) -> None:
    from mcp.server.stdio import stdio_server

    from bot.mcp.app import ANYBODY
    from bot.mcp.server import create_server
    from bot.mcp.tools import Desk

    async with open_local(settings) as services:
        server = create_server(Desk(services), lambda _request: ANYBODY)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
