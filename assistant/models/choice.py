"""Which version answers a conversation: the promoted one, or the canary for its share; the base where there is none.

A conversation keeps its version while the registry stays as it is, so that nobody sees two in turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.errors import AlmanacError
from assistant.models.registry import Version

log = structlog.get_logger()

SECONDS = 30.0  # how long what the registry said holds

Served = Callable[[str], Awaitable[Sequence[Version]]]  # the promoted version and the canary of a base


def chosen(conversation: str, versions: Sequence[Version], base: str) -> str:
    """The name of the model that answers this conversation."""
    for version in versions:
        if version.state == "canary" and part(version.name, conversation) < version.share:
            return version.name
    return next((version.name for version in versions if version.state == "promoted"), base)


def part(name: str, conversation: str) -> float:
    """Where in [0, 1) a conversation falls; each canary (``name``) deals them anew."""
    digest = hashlib.sha256(f"{name}\n{conversation}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


class Choice:
    """Asks ``served`` at most every ``seconds``. Where it cannot say, what it said last still holds."""

    def __init__(self, served: Served, base: str, seconds: float = SECONDS) -> None:
        self._served = served
        self._seconds = seconds
        self._versions: Sequence[Version] = ()
        self._until = 0.0
        self._asking = asyncio.Lock()
        self.base = base

    async def name(self, conversation: str) -> str:
        """Of the model that answers this conversation. Never fails."""
        if time.monotonic() >= self._until:
            async with self._asking:
                if time.monotonic() >= self._until:
                    await self._ask()
        return chosen(conversation, self._versions, self.base)

    async def _ask(self) -> None:
        try:
            self._versions = await self._served(self.base)
        except (SQLAlchemyError, OSError, AlmanacError) as error:
            log.warning("model.registry_away", error=type(error).__name__)
        self._until = time.monotonic() + self._seconds
