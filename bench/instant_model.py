"""A server that speaks OpenAI's streaming chat completions and answers at once: ``… -m bench.instant_model PORT``."""

from __future__ import annotations

import json
import sys

from aiohttp import web

PIECES = ("The documents ", "say so [1].", " See also [2].")


def _chunk(**fields: object) -> bytes:
    body = {"id": "chat", "object": "chat.completion.chunk", "created": 0, "model": "instant", **fields}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


BODY = b"".join(
    [
        *(_chunk(choices=_choice({"content": piece})) for piece in PIECES),
        _chunk(choices=_choice({}, "stop")),
        _chunk(choices=[], usage={"prompt_tokens": 1500, "completion_tokens": 12, "total_tokens": 1512}),
        b"data: [DONE]\n\n",
    ]
)


async def complete(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=BODY, content_type="text/event-stream")


def main() -> None:
    application = web.Application(client_max_size=2**24)
    application.router.add_post("/v1/chat/completions", complete)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
