"""What stands beside the search and the model. Each may be missing: tests, and measurements of one part, do without."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.answering.tooling import Tooling
from assistant.spending.budget import Budget


@dataclass(frozen=True, slots=True)
class Aids:
    """``budget`` holds the caps and writes the ledger; ``tooling`` routes questions, and has tools called."""

    budget: Budget | None = None
    tooling: Tooling | None = None


NO_AIDS = Aids()
