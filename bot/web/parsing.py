"""What a request says, checked; whatever is wrong becomes ``Refused`` with one sentence."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from assistant.errors import AlmanacError, NotFound
from assistant.guardrails.formats import Format
from assistant.knowledge.filters import NAMES, FilterError, Filters, from_arguments

MAX_REASON = 2_000
MAX_HITS = 50

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Refused(AlmanacError):
    """A request that is not served, with its HTTP status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def read_object(request: web.Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object of at most ``limit`` bytes."""
    if request.content_type != "application/json":
        raise Refused(415, "The body must be JSON, with Content-Type: application/json.")
    try:
        value = orjson.loads(await _read(request, limit))
    except orjson.JSONDecodeError:
        raise Refused(400, "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object.")
    return value


async def _read(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    if (request.content_length or 0) <= limit:
        async for part in request.content.iter_any():
            body += part
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise Refused(413, f"The body is larger than {limit // 1024:,} KiB.")


def text_field(body: dict[str, Any], name: str, *, limit: int | None = None) -> str:
    """A text without NUL, which Postgres cannot hold."""
    value = body.get(name)
    if not isinstance(value, str):
        raise Refused(400, f'"{name}" must be a text.')
    if limit is not None and len(value) > limit:
        raise Refused(400, f'"{name}" is longer than {limit:,} characters.')
    return value.replace("\0", " ")


def filters_of(body: Mapping[str, Any]) -> Filters:
    """``source``, ``title``, ``author``, ``after`` and ``before`` of a JSON body: each a text, or a list of them."""
    given: dict[str, list[str]] = {}
    for name in NAMES:
        value = body.get(name)
        values = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise Refused(400, f'"{name}" must be a text or a list of texts.')
        given[name] = [each.replace("\0", " ") for each in values]
    return _filters(given)


def query_filters(request: web.Request) -> Filters:
    """The same of a query string, where a name may stand several times."""
    return _filters({name: request.query.getall(name, []) for name in NAMES})


def _filters(given: Mapping[str, Sequence[str]]) -> Filters:
    try:
        return from_arguments(given)
    except FilterError as error:
        raise Refused(400, str(error)) from None


def format_of(body: Mapping[str, Any]) -> Format | None:
    """The JSON schema in ``format``. Raises ``QuestionRejected`` where it is none."""
    if body.get("format") is None:
        return None
    return Format(body["format"])


def uuid_field(value: object, name: str) -> uuid.UUID:
    """A UUID in its usual spelling."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise Refused(400, f'"{name}" must be a UUID.')
    return uuid.UUID(value)


def thumb(body: dict[str, Any]) -> int:
    value = body.get("value")
    if isinstance(value, bool) or value not in (1, -1):
        raise Refused(400, '"value" must be 1 or -1.')
    return int(value)


def reason(body: dict[str, Any]) -> str | None:
    return None if body.get("reason") is None else text_field(body, "reason", limit=MAX_REASON)


def chunk_number(request: web.Request) -> int:
    """The chunk in the path; what cannot be one does not exist."""
    value = request.match_info["chunk_id"]
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise NotFound("There is no such passage.")
    return int(value)


def hit_count(request: web.Request) -> int:
    value = request.query.get("k", "10")
    if not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= MAX_HITS:
        raise Refused(400, f'"k" must be a number from 1 to {MAX_HITS}.')
    return int(value)
