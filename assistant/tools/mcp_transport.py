"""How an MCP server is reached: the command of a process, or a URL behind the same guard as every other call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
from mcp import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from yarl import URL

from assistant.addresses import literal
from assistant.tools.api import BadSource
from assistant.tools.auth import Prover, Secrets
from assistant.tools.config import McpSource
from assistant.tools.guard import Gate, is_private
from assistant.tools.text import clean

SILENCE = 300.0  # seconds that a stream may say nothing
_WORDS = 4_000  # characters of what a process says on standard error that are kept


def transport_of(config: McpSource, folder: Path, secrets: Secrets, url: str | None) -> Process | Web:
    """Raises ``MissingSecret`` for a secret that is nowhere, ``BadSource`` for the rest."""
    server = config.mcp
    if server.command and url is None:
        environment = {variable: secrets.value(name, "localhost") for variable, name in server.env.items()}
        return Process(list(server.command), environment, folder / server.folder if server.folder else folder)
    target = url or server.url or ""
    host = URL(target).host or ""
    private = config.private or is_private(target)
    if server.auth is not None and URL(target).scheme != "https" and not private:
        raise BadSource(("mcp", "auth"), f"would send a secret to {host} over http, where anybody may read it")
    headers = dict(Prover(server.auth, secrets, host).fixed.headers)
    return Web(target, headers, Gate(host, private), config.max_bytes)


class Process:
    """A process that is spoken to by its standard input and output. It inherits the path and no settings of ours."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._command = command
        self._environment = environment
        self._folder = folder
        self._words: deque[str] = deque(maxlen=20)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        self._words.clear()
        parameters = StdioServerParameters(
            command=self._command[0], args=self._command[1:], env=self._environment, cwd=self._folder
        )
        with self._listening() as errors:
            yield stdio_client(parameters, errors)

    @contextlib.contextmanager
    def _listening(self) -> Any:
        """Keeps the last of what the process says on standard error."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)

        def hear() -> None:
            try:
                piece = os.read(reading, 65_536)
            except BlockingIOError:
                return
            if not piece:
                loop.remove_reader(reading)
                return
            self._words.extend(piece.decode("utf-8", "replace")[-_WORDS:].splitlines()[-20:])

        loop.add_reader(reading, hear)
        try:
            with os.fdopen(writing, "w") as errors:
                yield errors
        finally:
            hear()
            loop.remove_reader(reading)
            os.close(reading)

    def why(self) -> str:
        if shutil.which(self._command[0], path=os.environ.get("PATH")) is None:
            return f"there is no command {self._command[0]}"
        words = [words for line in self._words if (words := clean(line, 200))]
        return words[-1] if words else ""


class Web:
    """A server over streamable HTTP. Nothing goes to another host, and to none inside that was not declared."""

    def __init__(self, url: str, headers: dict[str, str], gate: Gate, max_bytes: int) -> None:
        self._url = url
        self._headers = headers
        self._gate = gate
        self._max_bytes = max_bytes

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with httpx2.AsyncClient(
            transport=_Guarded(self._gate, self._max_bytes), headers=self._headers,
            timeout=httpx2.Timeout(SILENCE, connect=5.0), follow_redirects=False, trust_env=False,
        ) as client:  # fmt: skip
            yield streamable_http_client(self._url, http_client=client, max_sse_event_size=self._max_bytes)

    def why(self) -> str:
        return ""


class _Guarded(httpx2.AsyncBaseTransport):
    """Connects to the address that was checked: what the gate resolves is what is dialled."""

    def __init__(self, gate: Gate, max_bytes: int) -> None:
        self._gate = gate
        self._max_bytes = max_bytes
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        self._gate.check(URL(str(url)))
        extensions = dict(request.extensions)
        if literal(url.host) is None:
            port = url.port or (443 if url.scheme == "https" else 80)
            address = (await self._gate.resolve(url.host, port))[0]["host"]
            extensions["sni_hostname"] = url.host
            url = url.copy_with(host=address)
        dialled = httpx2.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
        )
        response = await self._inner.handle_async_request(dialled)
        if "json" in response.headers.get("content-type", ""):
            response.stream = _Capped(response.stream, self._max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Capped(httpx2.AsyncByteStream):
    """A body that may not be larger than this."""

    def __init__(self, stream: Any, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._left -= len(piece)
            if self._left < 0:
                raise httpx2.ReadError("the answer is too large")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
