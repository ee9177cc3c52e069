"""What goes in and what comes out of the assistant: frozen data, the same for every front end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from assistant.answering.outcomes import Outcome
from assistant.knowledge.audience import Audience


def storable(text: str) -> str:
    """The text without what Postgres cannot hold: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of the same conversation, with its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """``audience`` is everybody who can read the reply; ``conversation`` names the thread on its platform."""

    text: str
    asker: str  # stable name of the person on the platform
    audience: Audience
    platform: str  # slack, teams, web, terminal
    conversation: str
    inbox_id: uuid.UUID | None = None  # the stored event this came from, if it came by one


@dataclass(frozen=True, slots=True)
class Citation:
    """``[n]`` in the answer's text. ``quote`` stands verbatim in the chunk."""

    n: int
    title: str
    url: str | None
    chunk_id: int
    quote: str
    document_id: int
    external_id: str
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is Markdown with ``[n]`` markers; ``nearest`` are sources worth a look when nothing answers.

    ``reference`` is what a person can give to an administrator when the outcome is ``failed``.
    """

    id: uuid.UUID
    outcome: Outcome
    text: str
    citations: tuple[Citation, ...] = ()
    nearest: tuple[Citation, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    usage: Usage = NOTHING_USED
    model: str = ""
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The stage that has begun: ``searching`` or ``writing``."""

    stage: str


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the answer, to be appended to what was shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of every stream, exactly once. ``answer.text`` replaces what was shown before."""

    answer: Answer


AnswerEvent = Progress | Delta | Done


@dataclass(frozen=True, slots=True)
class Vote:
    """A thumb: ``value`` is 1 or -1."""

    answer_id: uuid.UUID
    person: str
    value: int
    reason: str | None = None
