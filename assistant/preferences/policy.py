"""Which version of what was learned from votes puts a question's passages in order.

One version is promoted; another may be tried as a canary on a share of the conversations, each of which draws its lot
by its name, so that it stays with what it drew. The versions are read anew every so often, beside the questions: none
waits for that, and one that cannot be read leaves the order as the ranking makes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import preferences
from assistant.database.session import Sessions
from assistant.preferences.model import BadLearned, Learned

log = structlog.get_logger()

REFRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What orders one question's passages: ``learned`` of ``version``, or, where that is None, nothing beside the
    ranking. While a ``canary`` (a version) is tried on a ``share`` of the conversations, ``tried`` says whether this is
    it, or one of the others."""

    version: int | None = None
    learned: Learned | None = field(default=None, repr=False, compare=False)
    canary: int | None = None
    tried: bool = False
    share: float = 0.0

    def document(self) -> dict[str, Any]:
        """As an answer keeps it."""
        found: dict[str, Any] = {} if self.version is None else {"version": self.version}
        if self.canary is not None:
            found |= {"canary": self.canary, "arm": "canary" if self.tried else "control", "share": self.share}
        return found


NOTHING_LEARNED = Choice()


@dataclass(frozen=True, slots=True)
class _Held:
    version: preferences.InForce
    learned: Learned


class Policies:
    """What is in force, as it was read at most ``seconds`` ago. ``sessions`` are those of the owner."""

    def __init__(self, sessions: Sessions, seconds: float = REFRESH_SECONDS) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._held: Mapping[str, _Held] = {}  # by state
        self._unreadable: set[int] = set()
        self._read_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()  # what was read first must not be kept last

    def chosen(self, lot: str | None, embedding: str) -> Choice:
        """For a conversation of this name, and questions embedded by this model: what was learned with another's
        vectors has no say. Reads nothing itself; starts reading anew where that is due."""
        if time.monotonic() - self._read_at > self._seconds and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self.refresh(), name="preferences")
        canary, promoted = (self._fitting(state, embedding) for state in ("canary", "promoted"))
        if canary is not None and lot is not None:
            number, share = canary.version.id, canary.version.share or 0.0
            if drawn(number, lot) < share:
                return Choice(number, canary.learned, number, tried=True, share=share)
            usual = Choice(promoted.version.id, promoted.learned) if promoted else NOTHING_LEARNED
            return replace(usual, canary=number, share=share)
        return Choice(promoted.version.id, promoted.learned) if promoted else NOTHING_LEARNED

    def _fitting(self, state: str, embedding: str) -> _Held | None:
        held = self._held.get(state)
        return held if held is not None and held.version.embedding == embedding else None

    async def refresh(self) -> None:
        """Read what is in force now; keeps what there is while the database is away."""
        async with self._one_at_a_time:
            await self._refresh()

    async def _refresh(self) -> None:
        self._read_at = time.monotonic()
        try:
            async with self._sessions() as session:
                versions = await preferences.in_force(session)
                known = {held.version.id: held.learned for held in self._held.values()}
                new = [one.id for one in versions if one.id not in known and one.id not in self._unreadable]
                models = {number: await preferences.model_of(session, number) for number in new}
        except (SQLAlchemyError, OSError) as error:
            log.warning("preferences.away", error=type(error).__name__)
            return
        for number, model in models.items():
            try:
                known[number] = await asyncio.to_thread(_read, model)
            except BadLearned as error:
                self._unreadable.add(number)
                log.warning("preferences.unreadable", version=number, error=str(error))
        self._held = {one.state: _Held(one, known[one.id]) for one in versions if one.id in known}
        if new:
            log.info("preferences.in_force", **{one.state: one.id for one in versions})

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)


def drawn(version: int, lot: str) -> float:
    """0..1, evenly, and always the same for a version and a conversation; each version draws anew."""
    digest = hashlib.sha256(f"{version}\0{lot}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _read(model: Mapping[str, Any]) -> Learned:
    return Learned.from_json(orjson.dumps(model).decode())
