"""A real API over a socket for tests of tools: it checks what it gets as APIs do, and remembers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from assistant.settings import Settings
from assistant.tools.model import Tool, ToolCaller
from assistant.tools.registry import Toolbox

ME = ToolCaller("slack:T1:UA", "slack")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    method: str
    path: str  # as it stood on the wire
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Api:
    """``url`` is where it listens; ``answer`` decides what it says."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Handler | None = None

    @property
    def last(self) -> Received:
        return self.received[-1]


@asynccontextmanager
async def serving(answer: Handler | None = None) -> AsyncIterator[Api]:
    api = Api(answer=answer)

    async def handle(request: web.Request) -> web.StreamResponse:
        api.received.append(Received(request.method, request.raw_path, request.headers, await request.read()))
        if api.answer is not None:
            return await api.answer(request)
        return web.json_response({"ok": True})

    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield api
    finally:
        await runner.cleanup()


def document(paths: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": dict(paths), **more}


def get(name: str = "read", **more: Any) -> dict[str, Any]:
    return {"get": {"operationId": name, "responses": {"200": {"description": "ok"}}, **more}}


def write_file(folder: Path, name: str, data: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


@asynccontextmanager
async def toolbox(
    folder: Path, *sources: Mapping[str, Any], secrets: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[Toolbox]:
    """The toolbox of a tools.yaml with these sources."""
    path = write_file(folder, "tools.yaml", {"sources": [dict(source) for source in sources]})
    box = Toolbox.open(Settings(_env_file=None, tools=str(path), tool_secrets=dict(secrets or {}), **settings))
    try:
        yield box
    finally:
        await box.close()


async def only(box: Toolbox, caller: ToolCaller = ME) -> Tool:
    """The one tool there is."""
    tools = await box.tools_for(caller)
    assert len(tools) == 1, [tool.name for tool in tools]
    return tools[0]


async def until(check: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.02)


async def listening(port: int) -> None:
    """Until somebody listens on the port of this machine."""
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
