"""``python -m assistant.sample.company [PORT]``: serve until asked to stop, on loopback only."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from aiohttp import web

from assistant.process import LISTENING_SOCKET, stop_requested
from assistant.sample.company import TOKEN
from assistant.sample.company.app import create

STOP_SECONDS = 2.0


async def serve(token: str, port: int) -> None:
    runner = web.AppRunner(create(token), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    given = os.environ.get(LISTENING_SOCKET)
    site: web.BaseSite = web.TCPSite(runner, "127.0.0.1", port)
    if given is not None:
        site = web.SockSite(runner, socket.socket(fileno=int(given)))
    try:
        await site.start()
        await stop_requested()
    finally:
        await runner.cleanup()


def main() -> int:
    token = os.environ.get(TOKEN, "")
    if len(token) < 16:
        sys.stderr.write(f"{TOKEN} must hold at least 16 characters.\n")
        return 1
    asyncio.run(serve(token, int(sys.argv[1]) if len(sys.argv) > 1 else 8090))
    return 0


if __name__ == "__main__":
    sys.exit(main())
