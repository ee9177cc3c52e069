"""An HTTP answer arrives in pieces, as networks and chunked encodings cut it; whoever reads it reads all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from assistant.bodies import read_up_to
from assistant.tools.auth import Exchange, Secrets
from assistant.tools.config import AsAsker
from assistant.tools.model import ToolCaller
from bot.teams.transport import Sender

HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(pieces: Sequence[bytes], head: bytes = HEAD) -> AsyncIterator[str]:
    """A server that sends its answer piece by piece, each seen by the other side before the next one leaves."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(head)
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


@pytest.mark.parametrize(("limit", "read"), [(100, b"one two three"), (13, b"one two three"), (9, b"one two t")])
async def test_a_body_is_read_to_its_end_or_to_its_limit(limit: int, read: bytes) -> None:
    async with answering([b"one ", b"two ", b"three"]) as url, aiohttp.ClientSession() as http, http.get(url) as got:
        assert await read_up_to(got.content, limit) == read


async def test_the_id_of_a_message_is_learnt_from_an_answer_in_two_pieces() -> None:
    """Without it the message would be sent a second time."""
    request: Any = SimpleNamespace(
        http_request=SimpleNamespace(method="POST", headers={}, data='{"text": "x"}', url="")
    )
    async with answering([b'{"id":', b'"m1"}']) as url, aiohttp.ClientSession() as http:
        request.http_request.url = url
        sent: Any = (await Sender(http).send(request)).http_response
    assert sent.status_code == 201
    assert sent.text() == '{"id": "m1"}'


async def test_a_token_is_read_from_an_answer_in_two_pieces() -> None:
    settings: Any = SimpleNamespace(
        tool_secrets={"key": SimpleNamespace(get_secret_value=lambda: "k" * 32)}, credentials={}
    )
    pieces = [b'{"access_token": "abc', b'def", "expires_in": 60}']
    async with answering(pieces, HEAD.replace(b"201 Created", b"200 OK")) as url:
        exchange = Exchange(AsAsker(token_url=url, key="key"), Secrets(settings))
        assert await exchange.token(ToolCaller("slack:T1:UA", "slack", alone=True)) == "abcdef"
        await exchange.close()
