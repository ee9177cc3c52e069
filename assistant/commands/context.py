"""What the commands need of the process they run in, and how they say times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from assistant.database.session import Sessions
from assistant.knowledge.search import Searcher
from assistant.queue import RunQueue
from assistant.settings import Settings
from assistant.strings import say
from assistant.tools.approval import Approvals
from assistant.tools.registry import Toolbox


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    sessions: Sessions
    searcher: Searcher
    queue: RunQueue
    model_name: str
    embedding_name: str
    toolbox: Toolbox = field(default_factory=Toolbox)
    approvals: Approvals | None = None  # None where nothing can be called


def ago(when: datetime | None, language: str, now: datetime | None = None) -> str:
    """A time as people say it; "–" for never."""
    if when is None:
        return "–"
    minutes = int(((now or datetime.now(UTC)) - when).total_seconds() // 60)
    if minutes < 1:
        return say("commands.ago_now", language)
    if minutes < 120:
        return say("commands.ago_minutes", language, n=minutes)
    if minutes < 48 * 60:
        return say("commands.ago_hours", language, n=minutes // 60)
    return say("commands.ago_days", language, n=minutes // (24 * 60))


def header(key: str, language: str) -> tuple[str, ...]:
    return tuple(say(key, language).split("|"))
