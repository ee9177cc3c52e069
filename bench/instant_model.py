"""A server that speaks OpenAI's streaming chat completions and answers at once: ``… -m bench.instant_model PORT``.

It says the first sentence of each of the first two passages, with its number: what answers are checked for then holds.
"""

from __future__ import annotations

import json
import re
import sys

from aiohttp import web

PASSAGE = re.compile(r'<passage number="([12])"[^>]*>\n(.+?)(?:(?<=[.!?])\s|\n|$)')
USAGE = {"prompt_tokens": 1500, "completion_tokens": 60, "total_tokens": 1560}


def _chunk(**fields: object) -> bytes:
    body = {"id": "chat", "object": "chat.completion.chunk", "created": 0, "model": "instant", **fields}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


async def complete(request: web.Request) -> web.Response:
    asked = (await request.json())["messages"][-1]["content"]
    pieces = [f"{sentence} [{number}]\n\n" for number, sentence in PASSAGE.findall(asked)] or ["NOT_IN_DOCUMENTS"]
    body = [_chunk(choices=_choice({"content": piece})) for piece in pieces]
    body += [_chunk(choices=_choice({}, "stop")), _chunk(choices=[], usage=USAGE), b"data: [DONE]\n\n"]
    return web.Response(body=b"".join(body), content_type="text/event-stream")


def main() -> None:
    application = web.Application(client_max_size=2**24)
    application.router.add_post("/v1/chat/completions", complete)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
