"""Reading the body of an HTTP answer whole, and no more of it than it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import StreamReader

PIECE = 65_536


async def read_up_to(content: StreamReader, limit: int) -> bytes:
    """The body, or its first ``limit`` bytes. ``content.read(limit)`` gives what has come by now: perhaps half.

    Whoever takes at most so many bytes reads one more, and sees that there are more.
    """
    body = bytearray()
    async for piece in content.iter_chunked(PIECE):
        body += piece
        if len(body) >= limit:
            break
    return bytes(memoryview(body)[:limit])
