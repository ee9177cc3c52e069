"""What goes in and what comes out of the assistant: frozen data, the same for every front end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistant.answering.outcomes import Outcome
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import NO_FILTERS, Filters

if TYPE_CHECKING:  # it takes its time to import
    from assistant.guardrails.formats import Format


def storable(text: str) -> str:
    """The text without what Postgres cannot hold: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of the same conversation, with its answer."""

    question: str
    answer: str
    asker: str = ""  # stable name; several people may talk in one thread
    asker_name: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """``audience`` is everybody who can read the reply; ``conversation`` names the thread on its platform.

    ``asker_audience`` is what the asker alone may read: where only that answers, the answer is private.
    """

    text: str
    asker: str  # stable name of the person on the platform
    audience: Audience
    platform: str  # slack, teams, web, terminal
    conversation: str
    inbox_id: uuid.UUID | None = None  # the stored event this came from, if it came by one
    asker_name: str = ""  # how people call the asker
    asker_audience: Audience | None = None
    unprompted: bool = False  # nobody called us: only a sure answer is worth showing
    language: str | None = None  # fixed by the channel; None: the question's own
    locale: str | None = None  # of the asker, where the text is too short to tell
    persona: str = ""  # how the channel wants to be spoken to
    sources: tuple[int, ...] = ()  # where to search; empty: everywhere
    replaces: uuid.UUID | None = None  # the answer that this one takes the place of
    filters: Filters = NO_FILTERS  # beside those in the text
    format: Format | None = None  # that the answer must have; None: Markdown


@dataclass(frozen=True, slots=True)
class Citation:
    """``[n]`` in the answer's text. ``quote`` stands verbatim in the chunk.

    ``updated`` is the date (ISO) that the document gives itself, ``indexed`` when it was last read (ISO, with time);
    ``sensitivity`` is the label that it carries. What a ``tool`` said is cited, too: such a citation belongs to no
    document (its ``chunk_id`` and ``document_id`` are 0), and ``indexed`` is when the tool was asked.
    """

    n: int
    title: str
    url: str | None
    chunk_id: int
    quote: str
    document_id: int
    external_id: str
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    owner: str | None = None
    updated: str | None = None
    indexed: str | None = None
    sensitivity: str | None = None
    tool: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the model asked for, and how it went.

    ``outcome``: ``done``; ``failed`` (the tool, or what it stands for, said no: ``error`` is the sentence);
    ``refused`` (there is no such tool, or its arguments are wrong: nothing was called); ``repeated`` (the same call was
    made before in this answer, and not made again); ``proposed`` (it changes something and waits for a person).
    ``status`` is the HTTP status, where there is one; ``step`` counts from 1; ``n`` is its number in the answer's text.
    """

    tool: str
    title: str
    arguments: Mapping[str, Any]
    outcome: str
    step: int
    milliseconds: float = 0.0
    status: int | None = None
    error: str = ""
    n: int | None = None


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """A call that changes something and waits for a person, as it was when the answer was made.

    ``arguments_hash`` is what a decision must name; ``expires`` is ISO, with time. ``state`` is ``waiting``,
    or what had become of it when the same question came again; what has become of it since is in the approval's row.
    """

    id: uuid.UUID
    tool: str
    title: str
    arguments: Mapping[str, Any]
    arguments_hash: str
    expires: str = ""
    approvers: tuple[str, ...] = ()
    state: str = "waiting"


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost_usd + other.cost_usd,
        )


NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is Markdown with ``[n]`` markers; ``nearest`` are sources worth a look when nothing answers.

    ``reference`` is what a person can give to an administrator when the outcome is ``failed``. A ``private`` answer
    rests on what the asker may read and the audience may not: it is shown to the asker alone. ``confidence`` is the
    probability that the documents answer, where the model tells. ``calls`` are those of tools, in their order;
    ``approvals`` those that wait for a person. ``value`` fits the format that was asked for, and ``text`` shows it; it
    is not stored.
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
    private: bool = False
    language: str = "en"
    confidence: float | None = None
    calls: tuple[ToolUse, ...] = ()
    approvals: tuple[PendingApproval, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The stage that has begun: ``searching``, ``writing`` from so many ``documents``, or ``calling`` a ``tool``.

    ``tool`` is its title, as people read it.
    """

    stage: str
    documents: int = 0
    tool: str = ""


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
