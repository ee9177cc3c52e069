"""What a question may be before anything is done for it: in which language, and how many a person asks.

The rate is that of the minute which ends now: the answers that stand in the database, whichever process gave them, and
the questions on their way in this one. Each refusal is a sentence of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import Answer
from assistant.settings import Settings
from assistant.strings import identified, say

WINDOW = timedelta(minutes=1)
LEAST_WORDS = 5  # of a question whose language is judged: fewer do not tell


class Limits:
    """Holds what is on its way; everything else is in the settings and in the database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking: Counter[str] = Counter()

    @contextmanager
    def asking(self, person: str) -> Iterator[None]:
        """While a question of this person is answered. Ask ``too_many`` inside."""
        self._asking[person] += 1
        try:
            yield
        finally:
            self._asking[person] -= 1
            if not self._asking[person]:
                del self._asking[person]

    def wrong_language(self, text: str, language: str) -> str | None:
        """Only where ALMANAC_LANGUAGES names some, and the question is long and plain enough to tell."""
        named = self._settings.languages
        if not named or len(text.split()) < LEAST_WORDS:
            return None
        code = identified(text)
        if code is None or code in named:
            return None
        return say("guardrails.language", language, languages=", ".join(named))

    async def too_many(self, session: AsyncSession, person: str, platform: str, language: str) -> str | None:
        """The sentence that refuses one question too many; None where there is room, and on one's own machine."""
        most = self._settings.questions_per_minute
        if not most or self._own_machine(platform):
            return None
        since = datetime.now(UTC) - WINDOW
        counted = select(func.count(), func.min(Answer.created_at)).where(
            Answer.asker == person, Answer.created_at > since, ~Answer.unprompted
        )
        answered, first = (await session.execute(counted)).one()
        if answered + self._asking[person] <= most:
            return None
        wait = (first + WINDOW - datetime.now(UTC)).total_seconds() if first else WINDOW.total_seconds()
        return say("guardrails.too_many", language, limit=most, seconds=max(1, math.ceil(wait)))

    def _own_machine(self, platform: str) -> bool:
        """The terminal, and what only this machine reaches: nobody else is kept waiting by it."""
        local = self._settings.is_loopback and self._settings.web_token is None
        return platform == "terminal" or (local and platform in ("web", "mcp"))
