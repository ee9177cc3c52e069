"""``almanac playground teams``: Almanac in Microsoft's Agents Playground, which looks like Teams, without an account.

The Playground is a development tool of Microsoft under its own licence, so it is installed from npm when it is first
wanted, into ``ALMANAC_HOME``, and is no part of Almanac.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.text import Text

from assistant.errors import AlmanacError, SettingsError
from assistant.process import stop_requested
from assistant.settings import Settings
from bot import state, supervisor
from bot.teams import ROUTE

PACKAGE = "@microsoft/m365agentsplayground"
VERSION = "0.2.28"
INSTALL_SECONDS = 300.0
START_SECONDS = 60.0
STOP_SECONDS = 5.0
# The Playground has no option for the address it listens on and takes all of them; its pages are for this machine.
LOOPBACK = """const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  const port = typeof given[0] === 'object' && given[0] !== null ? given[0].port : given[0];
  const ready = given.find((one) => typeof one === 'function');
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, ready);
};
"""


async def run(settings: Settings, port: int) -> None:
    """Install what is missing, start what does not run, and stop all that at Ctrl-C."""
    if settings.teams_app_id:
        raise SettingsError("MicrosoftAppId is set; the Playground is for use without an app, so unset it.")
    node, npm = _tools()
    console = Console(highlight=False)
    cli = await installed(settings.home.resolve(), npm, lambda line: console.print(Text(line, style="dim")))
    async with _almanac(settings, console) as (web, over):
        await _anonymous(web)
        async with playing(node, cli, f"{web}{ROUTE}", port) as (process, address):
            _greet(console, web, address)
            ended = asyncio.create_task(process.wait(), name="playground")
            waiting: set[asyncio.Task[Any]] = {ended, over}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                raise AlmanacError(f"The Playground stopped by itself (exit status {ended.result()}).")
            ended.cancel()


def _tools() -> tuple[str, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise AlmanacError("The Playground needs Node.js (18 or newer) and npm, which are not on the PATH.")
    return node, npm


async def installed(home: Path, npm: str, tell: Callable[[str], None]) -> Path:
    """The Playground's command; installed from npm unless it is there, so that later starts need no network."""
    folder = home / "playground"
    cli = folder / "node_modules" / PACKAGE / "cli.js"
    if cli.exists():
        return cli
    folder.mkdir(parents=True, exist_ok=True)
    tell(f"Installing {PACKAGE} {VERSION} from npm (a tool of Microsoft, under its licence).")
    process = await asyncio.create_subprocess_exec(
        npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"{PACKAGE}@{VERSION}",
        cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), INSTALL_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AlmanacError(f"npm did not install {PACKAGE} within {INSTALL_SECONDS:.0f} s.") from None
    if not cli.exists():
        words = said.decode(errors="replace").strip().splitlines()
        raise AlmanacError(f"npm could not install {PACKAGE}: {words[-1] if words else 'no reason given'}")
    return cli


@asynccontextmanager
async def playing(
    node: str, cli: Path, endpoint: str, port: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A Playground in front of the endpoint, on this machine only; its process and its address, once it answers."""
    guard = cli.parents[2] / "loopback.cjs"
    guard.write_text(LOOPBACK)
    process = await asyncio.create_subprocess_exec(
        node, "--require", str(guard), str(cli), "start", "-e", endpoint, "-c", "msteams", "-p", str(port),
        "--disable-telemetry", env={**os.environ, "TEAMSAPPTESTER_BROWSER": "none"}, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        await _answers(process, address)
        yield process, address
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(process: asyncio.subprocess.Process, address: str) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(f"{address}/_internal/v1/config") as response:
                    if response.status == 200:
                        return
            if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                raise AlmanacError(f"The Playground does not start on {address}; --port chooses another port.")
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _almanac(settings: Settings, console: Console) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """The address of the Almanac that runs, or of one started for the while; and what ends when all is to end."""
    running = state.find(settings.home)
    if running is not None:
        over = asyncio.create_task(stop_requested(), name="stop")
        try:
            yield running.web, over
        finally:
            over.cancel()
        return
    ready: asyncio.Future[state.Running] = asyncio.get_running_loop().create_future()

    def tell(line: str) -> None:
        console.print(Text(line, style="dim"))

    up = asyncio.create_task(supervisor.up(settings, tell, lambda _: None, ready.set_result, True), name="up")
    try:
        waiting: set[asyncio.Future[Any]] = {up, ready}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await up  # why it did not start; or it was stopped before it had
            raise KeyboardInterrupt
        yield ready.result().web, up
    finally:
        if not up.done():  # the Playground ended first: Almanac is told as Ctrl-C tells it
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait({up})


async def _anonymous(web: str) -> None:
    """Raise one sentence unless the endpoint takes activities without a token."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.post(f"{web}{ROUTE}", json=[]) as response:
        if response.status != 400:  # what an anonymous endpoint says to an activity that is none
            raise AlmanacError(
                "The Almanac that runs here is not for the Playground; `almanac down` stops it, then try again."
            )


def _greet(console: Console, web: str, address: str) -> None:
    console.print()
    console.print(Text("Teams without an account is ready.", style="bold green"))
    console.print(Text.assemble("  Playground  ", (address, f"bold link {address}")))
    console.print(Text.assemble("  Web page    ", (web, f"bold link {web}")))
    console.print(Text("  Ctrl-C stops everything it started.", style="dim"))
