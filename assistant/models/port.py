"""The port that both kinds of model stand behind: passages in, cited text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assistant.answering.messages import NOTHING_USED, Turn, Usage
from assistant.knowledge.search import Hit

Function = Mapping[str, Any]  # an entry of OpenAI's ``tools``: {"type": "function", "function": {name, …}}


class Paid(Protocol):
    """A request that is paid for. Of one that says neither, the most that it could cost is counted."""

    def used(self, usage: Usage, cached_tokens: int = 0) -> None:
        """The endpoint has said what it took."""

    def unsent(self) -> None:
        """It was not sent, or refused: it costs nothing."""


class Purse(Protocol):
    """What pays for a question's requests: ``assistant.spending.budget.Purse``."""

    def call(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, purpose: str = ...
    ) -> AbstractAsyncContextManager[Paid]:
        """Sets aside the most that a request can cost, or raises ``OverBudget``."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a model is asked to do. ``passages[i]`` is cited as ``[i + 1]``.

    ``standalone`` is the question with what it leans on in the conversation, as it was searched for.
    """

    question: str
    standalone: str
    passages: Sequence[Hit]
    turns: Sequence[Turn] = ()
    term_weights: Mapping[int, float] = field(default_factory=dict)  # the question's terms and their idf
    asker_name: str = ""
    persona: str = ""  # how the channel wants to be spoken to
    language: str | None = None  # to answer in; None: the question's own
    purse: Purse | None = None  # pays for the requests; None: nobody counts
    variant: int = 0  # which of several answers to the same: 0 is the likeliest, each other one is drawn, by this seed


@dataclass(frozen=True, slots=True)
class Written:
    """The end of a model's stream: the whole text, and what it took.

    ``quotes`` names, for a cited passage, the words of it that the text rests on; without it the passage itself
    is searched for them. ``supported`` is False when the passages do not answer; ``confidence`` is the probability
    that they do, where the model knows.
    """

    text: str
    supported: bool = True
    quotes: Mapping[int, str] = field(default_factory=dict)
    usage: Usage = NOTHING_USED
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """What a model wrote before, and what is to be mended in it."""

    text: str
    instruction: str


class Model(Protocol):
    """``write`` yields pieces of text as they come and ends with one ``Written``; raises ``ModelError``."""

    @property
    def name(self) -> str: ...

    def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]: ...

    async def close(self) -> None: ...


@runtime_checkable
class Versioned(Protocol):
    """A model of which several versions answer, each its share of the conversations."""

    async def speaking(self, conversation: str) -> Model:
        """The one that answers a question of this conversation; its ``name`` says which, when it has answered."""
        ...


async def speaking(model: Model, conversation: str) -> Model:
    return await model.speaking(conversation) if isinstance(model, Versioned) else model


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the model wants called. ``arguments`` are None where they cannot be read: ``error`` says why."""

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str = ""  # the arguments as they came
    error: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """The end of one step of a conversation: the whole text of the step, and the calls that it asks for."""

    text: str
    calls: tuple[Call, ...] = ()
    usage: Usage = NOTHING_USED


@runtime_checkable
class Conversing(Protocol):
    """A model that can be given functions, unless ``calls_functions`` is False.

    ``converse`` yields pieces of text as they come and ends with one ``Said``; raises ``ModelError``.
    """

    @property
    def calls_functions(self) -> bool: ...

    def converse(
        self,
        conversation: Sequence[Mapping[str, Any]],
        functions: Sequence[Function],
        *,
        may_call: bool = True,
        purse: Purse | None = None,
    ) -> AsyncGenerator[str | Said, None]: ...


@runtime_checkable
class Filling(Protocol):
    """A model that can write JSON under a schema, unless ``fills`` is False.

    ``fill`` gives a reply of the kind that ``assistant.models.forms`` describes: whole, for nobody reads half a
    document; raises ``ModelError``.
    """

    @property
    def fills(self) -> bool: ...

    async def fill(self, brief: Brief, schema: Mapping[str, Any], again: Again | None = None) -> Written: ...
