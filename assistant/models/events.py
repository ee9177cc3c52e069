"""What endpoints send, read with care: servers that speak as OpenAI's does differ in what they leave out and put in.

Azure's filter sends choices without a delta, Mistral's reasoning models content in parts, others a usage of nulls, a
whole completion where a stream was asked for, an error under status 200, or what the model thought before it answered
(``<think>…</think>``), which is no part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OPENS, CLOSES = "<think>", "</think>"


class EndpointError(ValueError):
    """The endpoint sent an error in place of an event."""


@dataclass(frozen=True, slots=True)
class Took:
    """The tokens of a request, as its endpoint counts them; ``cached_tokens`` of the prompt's came from its cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    content: str = ""
    tool_calls: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    delta: Delta = Delta()
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event, or a whole completion as one. ``usage`` is None where nobody said what can be counted."""

    choices: tuple[Choice, ...] = ()
    usage: Took | None = None

    @property
    def text(self) -> str:
        return self.choices[0].delta.content if self.choices else ""


def chunk_of(raw: Any) -> Chunk:
    """Raises ``EndpointError`` where it is an error; what is no event at all holds nothing."""
    if getattr(raw, "object", None) == "error" or getattr(raw, "error", None):
        raise EndpointError("The endpoint sent an error.")
    choices = getattr(raw, "choices", None)
    found = [_choice(one) for one in choices if one is not None] if isinstance(choices, list) else []
    return Chunk(tuple(found), _took(getattr(raw, "usage", None)))


class Thoughts:
    """Leaves out what a model thinks aloud before its answer, where its server does not tell the two apart."""

    def __init__(self) -> None:
        self._held: str | None = ""  # what may still begin a thought, or is one; None: the answer has begun
        self._answered = False

    def feed(self, piece: str) -> str:
        """What of the answer is there now."""
        if self._held is None:
            if not self._answered:  # blank lines after a thought
                piece = piece.lstrip()
                self._answered = bool(piece)
            return piece
        self._held += piece
        begun = self._held.lstrip()
        if begun.startswith(OPENS):
            _, closed, rest = begun.partition(CLOSES)
            if not closed:
                return ""
            self._held = None
            return self.feed(rest)
        if OPENS.startswith(begun):
            return ""
        whole, self._held, self._answered = self._held, None, True
        return whole

    def rest(self) -> str:
        """At the end: what was held, unless it is a thought that was cut off."""
        held, self._held = self._held or "", None
        return "" if held.lstrip().startswith(OPENS) else held


def without_thoughts(text: str) -> str:
    thoughts = Thoughts()
    return thoughts.feed(text) + thoughts.rest()


def _choice(raw: Any) -> Choice:
    said = getattr(raw, "delta", None) or getattr(raw, "message", None)  # a message: of a whole completion
    calls = getattr(said, "tool_calls", None)
    finish = getattr(raw, "finish_reason", None)
    return Choice(
        Delta(_text(getattr(said, "content", None)), tuple(calls) if isinstance(calls, list) else ()),
        finish if isinstance(finish, str) else None,
    )


def _text(content: Any) -> str:
    """The text of a content, also of one in parts; thoughts, references and pictures are none."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping) and _is_text(part))
    return content if isinstance(content, str) else ""


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("text", "output_text")


def _took(raw: Any) -> Took | None:
    prompt, completion, total = (
        _count(getattr(raw, name, None)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if completion is None and prompt is not None and total is not None:
        completion = max(total - prompt, 0)
    if prompt is None or completion is None:
        return None
    cached = getattr(getattr(raw, "prompt_tokens_details", None), "cached_tokens", None)
    return Took(prompt, completion, _count(cached) or 0)


def _count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value < 2**31 else None
