"""The model server's application: OpenAI's endpoints over one engine, and what operations ask of it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.knowledge.embedder_port import Embedder
from workers.serving.api import ChatRequest, CompletionRequest, EmbeddingRequest, checked
from workers.serving.chat import Prompts, Replies, chat_replies, completion_replies
from workers.serving.engine import Engine
from workers.serving.limits import ApiError, body_of, broken, check_key, stopping, unknown_model, while_there
from workers.serving.metrics import OTHER, ServingMetrics
from workers.serving.published import Published
from workers.serving.streaming import Events, collected, events, submitted

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]
CLIENT_GONE = 499  # nobody reads it; for the log and the metrics


@dataclass
class Serving:
    """Everything a request needs. ``base`` is the name of the model without an adapter."""

    engine: Engine
    prompts: Prompts
    base: str
    embedder: Embedder
    key: str | None = None
    published: Published | None = None
    metrics: ServingMetrics = field(init=False)
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics = ServingMetrics(self.engine.stats)

    def adapter(self, model: str) -> str | None:
        """The adapter behind a model's name, None for the base; raises ``ApiError`` 404."""
        if model == self.base:
            return None
        if model in self.engine.adapters:
            return model
        raise unknown_model(model)

    def known(self, model: str) -> str:
        return model if model in (self.base, self.embedder.name, *self.engine.adapters) else OTHER


class Door:
    """Counts what is under way. Once it is shut, requests to the API are turned away, and those inside finish."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.shut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self.shut:
            await stopping().response()(scope, receive, send)
            return
        self._inside += 1
        self._empty.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def drain(self, seconds: float) -> bool:
        """Shut it, and wait until all inside have left; False where some have not by then."""
        self.shut = True
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True


def create_app(serving: Serving) -> Door:
    """The application; the engine starts with it and ends with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await serving.engine.start()
        following = None
        if serving.published is not None:
            await serving.published.look()  # what is promoted is there with the first request
            following = asyncio.create_task(serving.published.follow(), name="published")
        yield
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await serving.engine.close()
        serving.prompts.close()

    app = FastAPI(title="Almanac's models", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    door = Door(app)
    _add_api(app, serving)
    _add_operations(app, serving, door)
    return door


def _add_api(app: FastAPI, serving: Serving) -> None:
    async def chat(request: Request) -> Response:
        body = checked(ChatRequest, await body_of(request))
        request.state.model = body.model
        replies = await chat_replies(body, serving.prompts, serving.adapter(body.model))
        return await _answered(serving, request, replies, body.stream, body.with_usage)

    async def complete(request: Request) -> Response:
        body = checked(CompletionRequest, await body_of(request))
        request.state.model = body.model
        replies = await completion_replies(body, serving.prompts, serving.adapter(body.model))
        return await _answered(serving, request, replies, body.stream, body.with_usage)

    async def embed(request: Request) -> Response:
        return await _embedded(serving, request)

    async def models(_request: Request) -> Response:
        return _json({"object": "list", "data": _models(serving)})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        found = next((one for one in _models(serving) if one["id"] == name), None)
        if found is None:
            raise unknown_model(name)
        return _json(found)

    for path, handler, method in (
        ("/v1/chat/completions", chat, "POST"), ("/v1/completions", complete, "POST"),
        ("/v1/embeddings", embed, "POST"), ("/v1/models", models, "GET"), ("/v1/models/{name}", model, "GET"),
    ):  # fmt: skip
        app.router.add_route(path, _guarded(serving, path, handler), [method])


def _guarded(serving: Serving, path: str, handler: Handler) -> Handler:
    """The handler behind the key; what it raises becomes an error body, and nothing of it is told but that."""

    async def guarded(request: Request) -> Response:
        started = time.perf_counter()
        request.state.model = ""
        try:
            check_key(request, serving.key)
            response = await handler(request)
        except ApiError as error:
            response = error.response()
        except Exception:
            log.exception("serving.failed", path=path)
            response = broken().response()
        model, status = request.state.model, response.status_code
        serving.metrics.requests.labels(path, serving.known(model) if model else "", str(status)).inc()
        seconds = round(time.perf_counter() - started, 3)
        log.info("serving.request", path=path, model=model, status=status, seconds=seconds)
        return response

    return guarded


async def _answered(
    serving: Serving, request: Request, replies: Replies, stream: bool, with_usage: bool
) -> Response:  # fmt: skip
    streams = submitted(serving.engine, replies, serving.prompts.context)

    def ended() -> None:
        for choice in replies.choices:
            if choice.usage is not None:
                serving.metrics.finished(replies.model, choice.usage)

    context = serving.prompts.context
    if stream:
        chunks = events(replies, streams, context, with_usage)
        first = await while_there(request.receive, anext(chunks))
        return Response(status_code=CLIENT_GONE) if first is None else Events(first, chunks, ended)
    whole = await while_there(request.receive, collected(replies, streams, context))
    ended()
    return Response(status_code=CLIENT_GONE) if whole is None else _json(whole)


async def _embedded(serving: Serving, request: Request) -> Response:
    body = checked(EmbeddingRequest, await body_of(request))
    request.state.model = body.model
    if body.model != serving.embedder.name:
        raise unknown_model(body.model)
    vectors = await serving.embedder.embed(body.texts)
    if body.dimensions not in (None, vectors.shape[1]):
        message = f"dimensions: this model's vectors have {vectors.shape[1]}."
        raise ApiError(400, message, param="dimensions")
    tokens = sum(await asyncio.to_thread(serving.embedder.count_tokens, body.texts))
    as_text = body.encoding_format == "base64"
    data = [
        {
            "object": "embedding", "index": index,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode() if as_text else row.tolist(),
        }
        for index, row in enumerate(vectors)
    ]  # fmt: skip
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _json({"object": "list", "data": data, "model": body.model, "usage": usage})


def _models(serving: Serving) -> list[dict[str, Any]]:
    served = [(serving.base, None), *((name, serving.base) for name in serving.engine.adapters),
              (serving.embedder.name, None)]  # fmt: skip
    return [
        {"id": name, "object": "model", "created": serving.started, "owned_by": "almanac", "parent": parent}
        for name, parent in served
    ]


def _add_operations(app: FastAPI, serving: Serving, door: Door) -> None:
    async def alive(_request: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(_request: Request) -> Response:
        published = serving.published
        stats = serving.engine.stats()
        said = {
            "status": "stopping" if door.shut else "ready",
            "model": serving.base,
            "adapters": list(stats.adapters),
            "refused": {} if published is None else published.refused,
            "registry": "none" if published is None else published.trouble or "ok",
            "running": stats.running,
            "waiting": stats.waiting,
        }
        return _json(said, 503 if door.shut else 200)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(serving.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    for path, handler in (("/healthz", alive), ("/readyz", ready), ("/metrics", metrics)):
        app.router.add_route(path, handler, ["GET"])


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
