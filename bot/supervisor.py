"""``almanac up``: starts what Almanac needs, keeps it running, and stops what it started."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

import assistant.sample
from assistant import queue
from assistant.database import migrate, runs, status
from assistant.database.session import create_engine, create_sessions
from assistant.embedded import EmbeddedPostgres, EmbeddedValkey
from assistant.errors import AlmanacError, AlreadyRunning, DatabaseUnavailable
from assistant.process import LISTENING_SOCKET, PARENT_PIPE, stop_requested
from assistant.settings import Settings
from assistant.tools.registry import Toolbox
from bot import local_model, sample_tools, state
from bot.child import STOP_SECONDS, Child

READY_SECONDS = 120.0
WATCH_SECONDS = 2.0

Tell = Callable[[str], None]
Watch = Callable[[runs.RunRow], None]


async def up(
    settings: Settings, tell: Tell, watch: Watch, ready: Callable[[state.Running], None], sample: bool
) -> None:
    """Run until SIGTERM or SIGINT. ``ready`` is called once, when questions are answered."""
    home = settings.home.resolve()
    await asyncio.to_thread(Toolbox.open, settings)  # a wrong tools.yaml stops the start before anything is started
    with state.exclusive(home) as crashed, _listen(settings, STOP_SECONDS if crashed else 0) as listening:
        async with AsyncExitStack() as stack:
            stopping = asyncio.create_task(stop_requested(), name="stop")
            starting = asyncio.create_task(_start(settings, home, listening, stack, tell, watch, sample), name="start")
            await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
            else:
                running = starting.result()
                state.publish(home, running)
                ready(running)
                await stopping
            tell("Stopping.")


@contextlib.contextmanager
def _listen(settings: Settings, patience: float) -> Iterator[socket.socket]:
    """Bind the port before anything is started, and keep it while the bot restarts.

    ``patience``: seconds to wait for it; the bot of a killed Almanac needs a moment to stop.
    """
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                listening.bind((settings.host, settings.port))
                break
            except OSError as error:
                if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise AlreadyRunning(
                    f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}); "
                    "choose another with --port or ALMANAC_PORT."
                ) from None
        listening.listen(1024)
        listening.set_inheritable(True)
        yield listening


async def _start(
    settings: Settings, home: Path, listening: socket.socket, stack: AsyncExitStack, tell: Tell, watch: Watch,
    sample: bool,
) -> state.Running:  # fmt: skip
    tell("Starting Postgres and Valkey." if settings.database_url is None else "Connecting.")
    database_url = await _url(settings.database_url, lambda: EmbeddedPostgres(home), stack)
    redis_url = await _url(settings.redis_url, lambda: EmbeddedValkey(home), stack)
    engine = create_engine(database_url, pool_size=2)
    stack.push_async_callback(engine.dispose)
    tell("Migrating the database.")
    await migrate.upgrade(engine)
    port = listening.getsockname()[1]
    environment = os.environ | {
        "ALMANAC_DATABASE_URL": database_url,
        "ALMANAC_REDIS_URL": redis_url,
        "ALMANAC_HOST": settings.host,
        "ALMANAC_PORT": str(port),
        PARENT_PIPE: "1",
    }
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    tools = None
    if sample and await sample_tools.wanted(settings, create_sessions(engine)):
        tools = await sample_tools.start(settings, logs, stack)
        environment |= tools.environment()
    llm = None
    if settings.llm == "local":
        llm = await _local_model(settings, database_url, logs, stack, tell)
        environment |= llm.environment()
    worker = Child("workers", environment, logs / "worker.log")
    bot = Child("bot", environment | {LISTENING_SOCKET: str(listening.fileno())}, logs / "bot.log",
                (listening.fileno(),))  # fmt: skip
    for child in (worker, bot):
        stack.push_async_callback(child.stop)
        await child.start()
    if sample:
        await _ingest_sample(engine, redis_url, worker, tell, watch)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    web = f"http://{host}:{port}"
    await _until_ready(web, bot, tell)
    return state.Running(os.getpid(), web, database_url, redis_url, tools, llm)


async def _local_model(
    settings: Settings, database_url: str, logs: Path, stack: AsyncExitStack, tell: Tell
) -> state.LocalModel:  # fmt: skip
    tell("Starting the language model.")
    server = await local_model.start(settings, database_url, logs, stack)
    return await server.ready()


async def _url(
    configured: SecretStr | None, embedded: Callable[[], EmbeddedPostgres | EmbeddedValkey], stack: AsyncExitStack
) -> str:
    """The configured server's URL, or that of an embedded one, which runs until the stack closes."""
    if configured is not None:
        return configured.get_secret_value()
    server = embedded()
    stack.push_async_callback(asyncio.to_thread, server.stop)
    url = await asyncio.to_thread(server.start)
    await stack.enter_async_context(_watched(server))
    return url


@asynccontextmanager
async def _watched(server: EmbeddedPostgres | EmbeddedValkey) -> AsyncIterator[None]:
    """Start an embedded server again when it dies."""
    stop = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_SECONDS)
                return
            with contextlib.suppress(AlmanacError):
                await asyncio.to_thread(server.ensure_running)

    task = asyncio.create_task(watch(), name=f"watch-{type(server).__name__}")
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task])  # not cancelled: a look that is under way holds the lock that stopping needs


async def _ingest_sample(engine: AsyncEngine, redis_url: str, worker: Child, tell: Tell, watch: Watch) -> None:
    """On the first run, when the index is empty, read the sample handbook."""
    sessions = create_sessions(engine)
    async with sessions() as session:
        if (await status.counts(session))["documents"]:
            return
    tell("Reading the sample handbook.")
    async with sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"paths": [str(assistant.sample.HANDBOOK)]})
    pool = await queue.connect(redis_url)
    try:
        await queue.enqueue(pool, run_id)
    finally:
        await pool.aclose()
    while True:
        async with sessions() as session:
            run = await runs.find(session, run_id)
        assert run is not None
        watch(run)
        if run.finished:
            break
        if worker.failures >= 3:
            raise DatabaseUnavailable(f"The worker does not start: {worker.last_words()}")
        await asyncio.sleep(0.2)
    if run.state != "succeeded":
        raise AlmanacError(f"The sample handbook was not read: {run.error}")


async def _until_ready(web: str, bot: Child, tell: Tell) -> None:
    tell("Starting the bot.")
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with client.get(f"{web}/readyz") as response:
                    if response.status == 200:
                        return
            if bot.failures >= 3 or asyncio.get_running_loop().time() > deadline:
                raise AlmanacError(f"The bot does not start: {bot.last_words()}")
            await asyncio.sleep(0.1)
