"""What goes into the engine and what comes out of it. Needs no torch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from assistant.errors import AlmanacError

Finish = Literal["stop", "length"]  # an end token or a stop string; max_tokens or the context


class EngineError(AlmanacError):
    """A request cannot be served; the sentence says why and may be shown to the client."""


class Full(EngineError):
    """Every slot is taken and the queue is full: try again later (HTTP 429)."""


class TooLong(EngineError):
    """The prompt leaves no room in the context, or is empty (HTTP 400)."""


class BadRequest(EngineError):
    """A number out of its range, or a schema that cannot be followed (HTTP 400)."""


class NoAdapter(EngineError):
    """The adapter that a request names is not loaded (HTTP 404)."""


class AdapterUnusable(EngineError):
    """A folder's adapter does not fit the model, or uses something that is not served here."""


class Stopped(EngineError):
    """The engine is closed or closing, or a step of it failed (HTTP 503)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion.

    ``max_tokens``: None means as many as the context holds. ``temperature`` 0 takes the likeliest token; otherwise
    tokens are drawn from the smallest set with probability ``top_p``, the same ones for the same ``seed``. The text
    ends before the first of the strings in ``stop``. ``schema``: the text is JSON that this JSON schema accepts (cut
    off where ``max_tokens`` ends it). ``adapter``: the name it was loaded under; None is the base model. Before
    ``min_tokens`` are made no end token is (a schema's end counts nevertheless).
    """

    prompt_ids: Sequence[int] = field(repr=False)
    max_tokens: int | None = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    adapter: str | None = None
    min_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; ``cached_tokens`` of the prompt were read from the prefix cache. Times in seconds from
    submission: when the request got its slot, when its first token was there, when it ended."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    queued: float = 0.0
    first_token: float = 0.0
    total: float = 0.0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is settled: whole characters, and no part of a stop string. May be empty, the last one often is.

    ``token_ids`` are those made since the piece before (the last piece of a request lists an end token, too).
    ``finish_reason`` and ``usage`` stand on the last piece only.
    """

    text: str = field(repr=False)
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    finish_reason: Finish | None = None
    usage: Usage | None = None


class Pieces(Protocol):
    """What ``Engine.submit`` returns. Use it with ``contextlib.aclosing``: closing it early cancels the request."""

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    async def __anext__(self) -> Piece: ...

    async def aclose(self) -> None: ...

    def cancel(self) -> None:
        """Free the request's slot at once, without waiting. May be called from the event loop only."""
        ...


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. Counts and sums are since the start; lengths in tokens, times in seconds."""

    running: int
    waiting: int
    slots: int
    finished: int
    cancelled: int
    refused: int  # Full was raised
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    steps: int
    step_rows: int  # rows summed over the steps: step_rows / steps is the mean batch
    busy: float  # seconds spent in steps
    prefix_bytes: int  # held by the prefix cache beyond running requests
    model_bytes: int
    adapters: tuple[str, ...]


def check(request: Request, context: int, vocabulary: int) -> None:
    """Raises TooLong or BadRequest."""
    prompt = request.prompt_ids
    if not len(prompt):
        raise TooLong("The prompt is empty.")
    if len(prompt) >= context:
        raise TooLong(f"The prompt has {len(prompt)} tokens, and the model's context holds {context} with the answer.")
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise BadRequest("The prompt holds tokens that the model does not know.")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise BadRequest("max_tokens must be at least 1.")
    if not 0 <= request.temperature <= 2:
        raise BadRequest("temperature must lie between 0 and 2.")
    if not 0 < request.top_p <= 1:
        raise BadRequest("top_p must lie above 0 and at most at 1.")
    if any(not string for string in request.stop):
        raise BadRequest("A stop string may not be empty.")
