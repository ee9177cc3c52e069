"""The engine's pieces on their way to a client: several answers at once, as events or as one document.

Whatever ends a request early, the client's hanging up too, closes its streams, and so frees the engine's slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from workers.serving.chat import Choice, Replies
from workers.serving.engine import Engine
from workers.serving.limits import ApiError, broken, full, stopping, too_long, unknown_model, while_there, wrong
from workers.serving.requests import BadRequest, EngineError, Full, NoAdapter, Piece, Pieces, Stopped, TooLong

log = structlog.get_logger()

DONE = b"data: [DONE]\n\n"


def submitted(engine: Engine, replies: Replies, context: int) -> list[Pieces]:
    """One stream for each answer, or none at all; raises ``ApiError``."""
    streams: list[Pieces] = []
    try:
        for request in replies.requests:
            streams.append(engine.submit(request))
    except EngineError as error:
        cancelled(streams)
        raise _refused(error, replies, context) from error
    return streams


def cancelled(streams: Sequence[Pieces]) -> None:
    for stream in streams:
        stream.cancel()


def _refused(error: EngineError, replies: Replies, context: int) -> ApiError:
    if isinstance(error, Full):
        return full()
    if isinstance(error, TooLong):
        longest = max(replies.requests, key=lambda request: len(request.prompt_ids))
        return too_long(len(longest.prompt_ids), longest.max_tokens or 1, context, "messages")
    if isinstance(error, NoAdapter):
        return unknown_model(replies.model)
    if isinstance(error, BadRequest):
        return wrong(str(error), "response_format" if replies.requests[0].schema is not None else None)
    return stopping() if isinstance(error, Stopped) else broken()


@asynccontextmanager
async def merged(
    choices: Sequence[Choice], streams: Sequence[Pieces]
) -> AsyncIterator[AsyncGenerator[tuple[Choice, Piece], None]]:
    """The pieces of all answers in the order in which they come; leaving it ends what is under way."""
    queue: asyncio.Queue[tuple[Choice, Piece] | Exception | None] = asyncio.Queue()

    async def pump(choice: Choice, stream: Pieces) -> None:
        try:
            async with aclosing(stream):
                async for piece in stream:
                    queue.put_nowait((choice, piece))
            queue.put_nowait(None)
        except Exception as error:  # for whoever reads the queue
            queue.put_nowait(error)

    async def read() -> AsyncGenerator[tuple[Choice, Piece], None]:
        left = len(streams)
        while left:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item

    pumps = [asyncio.create_task(pump(*pair), name="pump") for pair in zip(choices, streams, strict=True)]
    try:
        async with aclosing(read()) as pieces:
            yield pieces
    finally:
        for task in pumps:
            task.cancel()
        cancelled(streams)  # also those whose pump had not begun
        await asyncio.gather(*pumps, return_exceptions=True)


async def collected(replies: Replies, streams: Sequence[Pieces], context: int) -> dict[str, Any]:
    """The whole answer; raises ``ApiError`` where a schema cannot be followed, or the engine broke."""
    try:
        async with merged(replies.choices, streams) as pieces:
            async for choice, piece in pieces:
                choice.take(piece)
    except Exception as error:
        raise _failed(error, replies, context) from error
    return replies.whole()


async def events(
    replies: Replies, streams: Sequence[Pieces], context: int, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Server-sent events as OpenAI sends them. Raises ``ApiError`` for what goes wrong before the first of them; what
    breaks later is an event, too, for the status has gone out."""
    usage = {"usage": None} if with_usage else {}
    begun = False
    try:
        async with merged(replies.choices, streams) as pieces:
            async for choice, piece in pieces:
                for document in [*([] if begun else replies.begun()), *replies.taken(choice, piece)]:
                    begun = True
                    yield _event(document | usage)
    except Exception as error:
        failed = _failed(error, replies, context)
        if not begun:
            raise failed from error
        yield _event(failed.body)
        return
    if with_usage:
        yield _event(replies.ended())
    yield DONE


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _failed(error: Exception, replies: Replies, context: int) -> ApiError:
    if isinstance(error, EngineError):
        return _refused(error, replies, context)
    log.error("serving.broken", exc_info=error)
    return broken()


class Events(StreamingResponse):
    """Sends events until the client hangs up; what makes them is closed then, at once, and not when it next writes.

    ``first`` has been taken from ``chunks``; ``ended`` is called at the end, whichever it is.
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, chunks: AsyncGenerator[bytes, None], ended: Callable[[], None]) -> None:
        super().__init__(chunks, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._first = first
        self._chunks = chunks
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_there(receive, self._send(send))
        finally:
            self._ended()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
