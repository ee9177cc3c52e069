"""The port that both kinds of model stand behind: passages in, cited text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assistant.answering.messages import NOTHING_USED, Turn, Usage
from assistant.knowledge.search import Hit


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


class Model(Protocol):
    """``write`` yields pieces of text as they come and ends with one ``Written``; raises ``ModelError``."""

    name: str

    def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]: ...

    async def close(self) -> None: ...
