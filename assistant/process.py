"""How a child of ``almanac up`` learns that it should stop: a signal, or the end of its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

LISTENING_SOCKET = "ALMANAC_LISTENING_SOCKET"  # the number of a socket that the parent has bound
PARENT_PIPE = "ALMANAC_PARENT_PIPE"  # "1": standard input is a pipe that the parent holds open while it lives


async def stop_requested() -> None:
    """Return on SIGTERM or SIGINT, or when the parent is gone, also by SIGKILL."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(PARENT_PIPE) == "1":
        loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing is ever written: readable means closed
    try:
        await stop.wait()
    finally:
        if os.environ.get(PARENT_PIPE) == "1":
            loop.remove_reader(sys.stdin.fileno())
