"""A quantised model behind HTTP: ``python -m ml.week08_serving.serve [--model tiny|smollm2] [--bits 8] [--port 8008]``.

``POST /generate`` takes {"prompt", "max_tokens", "temperature", "seed", "stream"} and answers with JSON or, with
``"stream": true``, with server-sent events: one ``data:`` line per piece of text, then the reason why it ended.
``GET /healthz`` says what is loaded and how busy it is.

    curl -N localhost:8008/generate -H 'content-type: application/json' \\
         -d '{"prompt": "The with statement", "max_tokens": 80, "stream": true}'

What a server adds to a model: input is checked (422), a full queue says so at once (429, with Retry-After) instead of
letting everyone wait, a client that hangs up frees its slot, and a failed engine is visible (503). Left out:
authentication, metrics, and the OpenAI protocol; put this behind a gateway that has them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ml.lesson import LessonError
from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.batching import Batcher, Request
from ml.week08_serving.engine import Busy, Engine, Stopped
from ml.week08_serving.models import Text, load_model

CHECKPOINT = Path(".almanac/learn/week08_serving/teacher.pt")  # where the experiment leaves its teacher
CONTEXT = 384  # tokens of a slot
PATIENCE = 0.25  # seconds between two looks at whether the client of a waiting request is still there


class Prompt(BaseModel):
    """The body of ``POST /generate``; anything else in it is an error, so that a typo is not a silent default."""

    model_config = ConfigDict(extra="forbid")
    prompt: str = Field(min_length=1, max_length=4000)
    max_tokens: int = Field(default=64, ge=1, le=256)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    stream: bool = False


class TextStream:
    """Turns tokens into text piece by piece: a letter whose bytes are not all there yet is held back."""

    def __init__(self, text: Text) -> None:
        self.text, self.ids, self.sent = text, [], 0

    def push(self, token: int) -> str:
        """The text that ``token`` completes, perhaps none."""
        if token != self.text.eos_token_id:
            self.ids.append(token)
        whole = self.text.decode(self.ids).rstrip("\ufffd")
        piece, self.sent = whole[self.sent :], len(whole)
        return piece


def create_app(model: Decoder, text: Text, name: str, slots: int = 8, limit: int = 32) -> FastAPI:
    """The application around one model; nothing runs before the server starts it."""
    engine = Engine(Batcher(model, slots, min(CONTEXT, model.config.context)), limit)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await asyncio.to_thread(engine.stop)

    app = FastAPI(title="Week 8: a quantised model", lifespan=lifespan)
    app.state.engine = engine

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        if not engine.alive:
            raise HTTPException(503, "The engine has stopped.")
        busy = {"running": len(engine.batcher.active), "waiting": len(engine.inbox)}
        return {"status": "ok", "model": name, "slots": slots, "tokens": engine.served, **busy}

    @app.post("/generate", response_model=None)
    async def generate(body: Prompt, http: HttpRequest) -> dict[str, Any] | StreamingResponse:
        request, tokens = _submit(engine, text, body)
        pieces = _pieces(engine, request, tokens, text, http)
        if body.stream:
            return StreamingResponse(
                _events(pieces), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
            )
        *answer, end = [piece async for piece in pieces]
        if end["finish_reason"] == "error":
            raise HTTPException(503, "The engine stopped while it answered.")
        return {"text": "".join(answer), **end}

    return app


def _submit(engine: Engine, text: Text, body: Prompt) -> tuple[Request, asyncio.Queue[int | None]]:
    """Put the prompt in the engine's queue; tokens will arrive in the returned one, None when no more come."""
    request = Request(text.encode(body.prompt), body.max_tokens, body.temperature, body.seed, text.eos_token_id)
    request.submitted = time.perf_counter()
    loop, tokens = asyncio.get_running_loop(), asyncio.Queue()
    try:
        engine.submit(request, lambda token: loop.call_soon_threadsafe(tokens.put_nowait, token))
    except Busy:
        raise HTTPException(429, "The queue is full.", headers={"Retry-After": "1"}) from None
    except Stopped:
        raise HTTPException(503, "The engine has stopped.") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return request, tokens


async def _pieces(
    engine: Engine, request: Request, tokens: asyncio.Queue[int | None], text: Text, http: HttpRequest
) -> AsyncIterator[Any]:
    """Pieces of text as they are written, then a dict: why they ended, how many tokens, how many seconds."""
    stream, count, reason = TextStream(text), 0, "length"
    try:
        while count < request.max_tokens:
            if await http.is_disconnected():
                reason = "cancelled"
                break
            try:
                token = await asyncio.wait_for(tokens.get(), PATIENCE)
            except TimeoutError:
                continue  # still waiting in the queue: look again whether the client is
            if token is None:
                reason = "error"
                break
            count += 1
            if piece := stream.push(token):
                yield piece
            if token == text.eos_token_id:
                reason = "stop"
                break
    finally:
        engine.cancel(request)  # does nothing to one that is finished; frees the slot of one whose client is gone
    seconds = time.perf_counter() - request.submitted
    yield {"finish_reason": reason, "tokens": count, "seconds": round(seconds, 4)}


async def _events(pieces: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Server-sent events: {"text": …} for each piece, the closing dict, and OpenAI's end mark."""
    async for piece in pieces:
        yield f"data: {json.dumps({'text': piece} if isinstance(piece, str) else piece)}\n\n"
    yield "data: [DONE]\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ml.week08_serving.serve", description="Serve a quantised model.")
    parser.add_argument("--model", choices=("tiny", "smollm2"), default="tiny")
    parser.add_argument("--bits", type=int, choices=(4, 8, 32), default=8, help="32 serves the model as it is")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8008)
    parser.add_argument("--slots", type=int, default=8, help="requests that share a batch")
    parser.add_argument("--queue", type=int, default=32, help="requests that may wait; beyond them it answers 429")
    parser.add_argument(
        "--checkpoint", type=Path, default=CHECKPOINT, help="the tiny model; trained where it is missing"
    )
    given = parser.parse_args()
    try:
        model, text = load_model(given.model, given.bits, given.checkpoint)
    except LessonError as error:
        raise SystemExit(str(error)) from error
    app = create_app(model, text, f"{given.model}, {given.bits} bits", given.slots, given.queue)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
