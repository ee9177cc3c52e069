"""``python -m workers.serving``: the model server, on a port of its own. `almanac serve` and `almanac up` start it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import structlog
import uvicorn

from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.registry import Registry
from assistant.process import LISTENING_SOCKET, stop_requested
from assistant.settings import LOCAL_CONTEXT, Settings, load_settings
from assistant.telemetry import configure_logs
from workers import language_model
from workers.language_model import LanguageModel
from workers.serving.app import Serving, create_app
from workers.serving.chat import Prompts
from workers.serving.engine import Engine
from workers.serving.published import Published
from workers.serving.quantising import natural_dtype

log = structlog.get_logger()

DRAIN_SECONDS = 10.0  # less than those who stop us wait
STEP_ASIDE = 2  # what searches and shows comes first


class Server(uvicorn.Server):
    """Signals are ours: they shut the door first, and end the server when all inside have left."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings) -> None:
    """Until asked to stop: requests under way finish then, new ones are turned away."""
    async with AsyncExitStack() as stack:
        with _listening(settings) as listening:
            serving = await _serving(settings, stack)
            door = create_app(serving)
            server = Server(uvicorn.Config(door, lifespan="on", log_config=None, access_log=False, server_header=False))
            running = asyncio.create_task(server.serve([listening]), name="server")
            stopping = asyncio.create_task(stop_requested(), name="stop")
            host, port = listening.getsockname()[:2]
            log.info("serving.start", pid=os.getpid(), host=host, port=port, model=serving.base)
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done() and not await door.drain(DRAIN_SECONDS):
                log.warning("serving.given_up", seconds=DRAIN_SECONDS)
            server.should_exit = True
            stopping.cancel()
            await running
    log.info("serving.stop", pid=os.getpid())


def _load(settings: Settings) -> LanguageModel:
    return language_model.load(language_model.folder_of(settings), dtype=natural_dtype())


async def _serving(settings: Settings, stack: AsyncExitStack) -> Serving:
    model = await asyncio.to_thread(_load, settings)
    longest = int(getattr(model.model.config, "max_position_embeddings", 0) or LOCAL_CONTEXT)
    context = min(settings.llm_context or LOCAL_CONTEXT, longest)
    base = language_model.base_name(settings)
    engine = Engine(
        model, slots=settings.serve_slots, context=context, quantisation=settings.serve_quantisation,
        waiting=settings.serve_waiting,
    )  # fmt: skip
    embedder = TransformerEmbedder(settings.embedding_model, 1, tokens=False)
    stack.push_async_callback(embedder.close)
    key = settings.serve_key.get_secret_value() if settings.serve_key else None
    serving = Serving(engine, Prompts(model.tokenizer, context), base, embedder, key)
    if settings.database_url is not None:
        database = create_engine(settings.database_url.get_secret_value(), pool_size=1)
        stack.push_async_callback(database.dispose)
        registry = Registry(create_sessions(database), settings.adapters_url)
        folder = settings.home.resolve() / "serving"
        serving.published = Published(engine, registry, base, folder, serving.metrics)
    return serving


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket that our parent has bound, or one of our own: bound before the model is read, which takes a while."""
    given = os.environ.get(LISTENING_SOCKET)
    if given is not None:
        yield socket.socket(fileno=int(given))
        return
    with socket.socket(socket.AF_INET6 if ":" in settings.serve_host else socket.AF_INET) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.serve_host, settings.serve_port))
        except OSError as error:
            raise AlmanacError(
                f"Port {settings.serve_port} on {settings.serve_host} cannot be used ({error.strerror}); choose another"
                " with --port or ALMANAC_SERVE_PORT."
            ) from None
        yield listening


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        os.nice(STEP_ASIDE)
        asyncio.run(serve(settings))
    except AlmanacError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
