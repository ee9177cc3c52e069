"""What every architecture keeps: limits that end a run, and a record of all that happened in it.

Idea.    An agent is a loop whose exit condition is written by a model. So the program needs exits of its own (steps,
         calls, seconds), and afterwards somebody will ask what it did, so each request and each call is kept, with
         times.
Left out. Money (week 11's meter), storage.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["ok", "failed", "invalid", "unknown", "repeated", "waiting", "too many"]
Reason = Literal["answered", "steps", "deadline", "model"]


@dataclass(frozen=True)
class Limits:
    """``steps``: requests to the model; ``calls``: tool calls that run; ``seconds``: the whole run; ``tool_seconds``:
    one call; ``replans``: new plans after a failure (plan-and-execute only)."""

    steps: int = 8
    calls: int = 16
    seconds: float = 60.0
    tool_seconds: float = 10.0
    replans: int = 2


@dataclass(frozen=True)
class Called:
    """One tool call: what was asked and what came of it, in words and, where it went well, as the ``result`` itself.
    ``started`` counts from the run's start, in seconds."""

    step: int
    name: str
    arguments: Any
    outcome: Outcome
    text: str
    started: float
    seconds: float
    result: Any = None


@dataclass(frozen=True)
class Asked:
    """One request to the model."""

    step: int
    started: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Trace:
    """A run: its answer, why it ended, and everything in between."""

    question: str
    architecture: str
    answer: str = ""
    reason: Reason = "answered"
    asked: list[Asked] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # fingerprints of writes that nobody has approved
    begun: float = field(default_factory=time.perf_counter)

    def now(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.begun

    @property
    def tokens(self) -> int:
        """All tokens read and written, as the endpoint counted them."""
        return sum(asked.prompt_tokens + asked.completion_tokens for asked in self.asked)

    @property
    def ran(self) -> list[Called]:
        """The calls that reached a tool, failed ones included."""
        return [called for called in self.called if called.outcome in ("ok", "failed")]
