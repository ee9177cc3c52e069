"""What is refused, in the words and with the codes that OpenAI's clients know; and the doors that refuse it.

An error tells the caller what to change. What went wrong inside is for the log alone.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

MAX_BODY = 4 * 1024 * 1024  # bytes; a prompt that fills the largest context is shorter
RETRY_SECONDS = 1  # after which one who was turned away may come again

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ApiError(Exception):
    """A request that is not served: OpenAI's error body, its status, and when to come again."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None = None,
        code: str | None = None, again: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.code = code
        self.again = again
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> Response:
        headers = {"Retry-After": str(RETRY_SECONDS)} if self.again else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(orjson.dumps(self.body), self.status, headers, "application/json")


def wrong(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The caller's own mistake, in one sentence that names the field."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(name: str) -> ApiError:
    return ApiError(404, f"The model {name[:100]!r} is not served here.", param="model", code="model_not_found")


def too_long(prompt: int, completion: int, context: int, param: str) -> ApiError:
    message = (
        f"This model's maximum context length is {context} tokens, and {prompt + completion} were asked for: {prompt}"
        f" in the prompt, {completion} for the completion. Shorten one of them."
    )
    return wrong(message, param, "context_length_exceeded")


def too_large() -> ApiError:
    return ApiError(413, f"A request may have {MAX_BODY // 1024 // 1024} MB.", code="request_too_large")


def unauthorised() -> ApiError:
    return ApiError(401, "The API key is missing or wrong.", kind="authentication_error", code="invalid_api_key")


def full() -> ApiError:
    message = "All places are taken, and so is the queue. Come again in a moment."
    return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", again=True)


def stopping() -> ApiError:
    return ApiError(503, "The server is stopping.", kind="server_error", code="stopping", again=True)


def broken() -> ApiError:
    return ApiError(500, "The server had an error while it answered.", kind="server_error", code="internal_error")


def check_key(request: Request, key: str | None) -> None:
    """Raises ``ApiError`` 401 unless the request carries the key, where there is one."""
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise unauthorised()


async def body_of(request: Request) -> Any:
    """The request's JSON; raises ``ApiError`` where it is too large, or none."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise too_large()
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY:
            raise too_large()
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise wrong("The body is no valid JSON.") from None


async def while_there(receive: Receive, work: Awaitable[Any]) -> Any:
    """What ``work`` gives, or None once the client has hung up: the work is cancelled then, and has ended."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(receive), name="hang-up")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
