"""What a channel's people chose: when to answer, from which sources, in which manner."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import audit
from assistant.database.session import Sessions
from assistant.database.tables import ChannelSettings as Row

FRESH_SECONDS = 10.0
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """``answer``: when mentioned, or also unasked when sure. ``sources``: their ids, empty for all.

    ``language`` is a code of ``assistant.strings.LANGUAGES``, None for that of the question. ``expert`` is who is
    tagged by "ask a person", in the platform's own notation; empty: the owner of the first cited document.
    """

    answer: Literal["mention", "sure"] = "mention"
    sources: tuple[int, ...] = ()
    show_sources: bool = True
    persona: str = ""
    language: str | None = None
    expert: str = ""

    @classmethod
    def restore(cls, stored: dict[str, Any]) -> ChannelSettings:
        """From JSON; what this version does not know is left out."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        return cls(**{**values, "sources": tuple(values.get("sources", ()))})


DEFAULT = ChannelSettings()


async def get(session: AsyncSession, platform: str, channel: str) -> ChannelSettings:
    statement = select(Row.settings).where(Row.platform == platform, Row.channel == channel)
    stored = (await session.execute(statement)).scalar_one_or_none()
    return DEFAULT if stored is None else ChannelSettings.restore(stored)


async def put(session: AsyncSession, platform: str, channel: str, settings: ChannelSettings, person: str) -> None:
    """Store the settings, and who chose them."""
    before = await get(session, platform, channel)
    values = {"settings": asdict(settings), "updated_by": person, "updated_at": func.now()}
    statement = insert(Row).values(platform=platform, channel=channel, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[Row.platform, Row.channel], set_=values))
    changed = {name: value for name, value in asdict(settings).items() if asdict(before)[name] != value}
    await audit.record(session, person, platform, "settings", channel, changed)


class Channels:
    """The settings on the path of every message: read at most every ten seconds a channel."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, ChannelSettings]] = {}

    async def of(self, platform: str, channel: str) -> ChannelSettings:
        now = self._clock()
        read, settings = self._known.get((platform, channel), (float("-inf"), DEFAULT))
        if now - read < FRESH_SECONDS:
            return settings
        async with self._sessions() as session:
            settings = await get(session, platform, channel)
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[platform, channel] = (now, settings)
        return settings

    async def change(self, platform: str, channel: str, settings: ChannelSettings, person: str) -> None:
        """Store, and be in force here at once."""
        async with self._sessions.begin() as session:
            await put(session, platform, channel, settings, person)
        self._known.pop((platform, channel), None)
