"""The model of ``ALMANAC_LLM=local``: our own server of models as a process beside us, on a free port of this machine.

Its key is made for this time, and its port stays the same when it dies and is started again: what is asked meanwhile
waits at the socket, which is ours.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from assistant.errors import AlmanacError
from assistant.process import LISTENING_SOCKET, PARENT_PIPE
from assistant.settings import Settings
from bot.child import Child
from bot.state import LocalModel, Running

MODULE = "workers.serving"
READY_SECONDS = 300.0  # on the first day SmolLM2 is written out of its package
DEATHS = 3  # in a row, each soon after the start: it will not come


class LocalServer:
    """Runs until ``stack`` closes."""

    def __init__(self, child: Child, url: str, key: str) -> None:
        self._child = child
        self._url = url
        self._key = key

    async def ready(self) -> LocalModel:
        """Once it answers; raises ``AlmanacError`` with what it said where it does not start."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while True:
            said = await state_of(self._url, 2.0)
            if said is not None:
                return LocalModel(f"{self._url}/v1", self._key, str(said["model"]))
            if self._child.failures >= DEATHS or asyncio.get_running_loop().time() > deadline:
                raise AlmanacError(f"The language model's server does not start: {self._child.last_words()}")
            await asyncio.sleep(0.1)


async def start(settings: Settings, database_url: str, logs: Path, stack: AsyncExitStack) -> LocalServer:
    """Start it; it sees no secret of the platforms, and is started again if it dies."""
    listening = stack.enter_context(socket.socket())
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    listening.set_inheritable(True)
    key = secrets.token_urlsafe(32)
    environment = serving_environment(database_url) | {
        "ALMANAC_HOME": str(settings.home.resolve()),
        "ALMANAC_SERVE_KEY": key,
        LISTENING_SOCKET: str(listening.fileno()),
        PARENT_PIPE: "1",
    }
    child = Child(MODULE, environment, logs / "model.log", (listening.fileno(),))
    stack.push_async_callback(child.stop)
    await child.start()
    return LocalServer(child, f"http://127.0.0.1:{listening.getsockname()[1]}", key)


def serving_environment(database_url: str) -> dict[str, str]:
    """What a server of models may know of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("SLACK_", "MICROSOFT"))}
    return kept | {"ALMANAC_DATABASE_URL": database_url}


async def state_of(url: str, seconds: float) -> dict[str, Any] | None:
    """What the server at this address says of itself, where it answers: model, adapters, those that it refused."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(f"{url}/readyz") as response:
            said = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return said if isinstance(said, dict) and "model" in said else None


async def health(model: LocalModel) -> str:
    """``ok``, or what is wrong, in a sentence."""
    said = await state_of(model.url.removesuffix("/v1"), 5.0)
    if said is None:
        return "The server does not answer; it may just be starting again."
    wrong = [*said["refused"].values(), *([] if said["registry"] in ("ok", "none") else [said["registry"]])]
    return " ".join(wrong) or "ok"


def with_local_model(settings: Settings, running: Running | None) -> Settings:
    """The settings of a command beside a running Almanac, which knows where the local model is."""
    if settings.llm != "local" or running is None or running.llm is None:
        return settings
    return _asking(settings, running.llm)


@asynccontextmanager
async def local_model(settings: Settings, database_url: str, running: Running | None) -> AsyncIterator[Settings]:
    """Settings under which the local model answers, where they want it: the running one's, or one for the moment."""
    settings = with_local_model(settings, running)
    if settings.llm != "local" or settings.llm_base_url:
        yield settings
        return
    async with AsyncExitStack() as stack:
        logs = settings.home.resolve() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        server = await start(settings, database_url, logs, stack)
        yield _asking(settings, await server.ready())


def _asking(settings: Settings, model: LocalModel) -> Settings:
    # A copy, since reading them anew would take every default for somebody's wish.
    return settings.model_copy(
        update={"llm_base_url": model.url, "llm_api_key": SecretStr(model.key), "llm_model": model.name}
    )
