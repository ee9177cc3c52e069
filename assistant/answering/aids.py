"""What stands beside the search and the model. Each may be missing: tests, and measurements of one part, do without."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.answering.cache import AnswerCache
from assistant.answering.tooling import Tooling
from assistant.guardrails.guards import Guards
from assistant.guardrails.limits import Limits
from assistant.guardrails.support import Support
from assistant.preferences.best_of import BestOf
from assistant.spending.budget import Budget


@dataclass(frozen=True, slots=True)
class Aids:
    """``budget`` holds the caps and writes the ledger; ``tooling`` routes questions, and has tools called.

    ``limits`` and ``guards`` look at what comes in and goes out; ``support`` checks the sentences of a model that
    writes its own; ``cache`` knows answers that may be given again; ``best_of`` has several written and picks one.
    """

    budget: Budget | None = None
    tooling: Tooling | None = None
    limits: Limits | None = None
    guards: Guards | None = None
    support: Support | None = None
    cache: AnswerCache | None = None
    best_of: BestOf | None = None


NO_AIDS = Aids()
