"""What every handler of the Slack front end is given."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import weakref
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.services import Services
from assistant.strings import DEFAULT, known
from bot.inbox import Claim, Inbox, TryLater
from bot.slack.api import Api
from bot.slack.errors import Refused, Unreachable
from bot.slack.events import PLATFORM, Message
from bot.slack.people import People
from bot.slack.stream import Streaming

log = structlog.get_logger()


@dataclass
class Workplace:
    """The parts, what is in flight, and the work that nobody waits for."""

    services: Services
    api: Api
    people: People
    streaming: Streaming = field(default_factory=Streaming)
    latest: dict[str, str] = field(default_factory=dict)  # a message's key -> that of its newest edit
    inbox: Inbox = field(init=False)
    _turns: weakref.WeakValueDictionary[str, asyncio.Lock] = field(default_factory=weakref.WeakValueDictionary)
    _claims: dict[uuid.UUID, tuple[Message, Claim]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def language(self, message: Message) -> str:
        """For what is no answer: the channel's, else the person's."""
        fixed = None
        with contextlib.suppress(SQLAlchemyError, OSError):
            fixed = (await self.settings(message)).language
        return known(fixed) or known((await self.people.get(message.team, message.user)).locale) or DEFAULT

    async def settings(self, message: Message) -> Any:
        return await self.services.channels.of(PLATFORM, place_of(message))

    @contextlib.contextmanager
    def working(self, message: Message, claim: Claim) -> Iterator[None]:
        """While an answer is being made, so that it can be stopped."""
        self._claims[claim.event_id] = (message, claim)
        try:
            yield
        finally:
            self._claims.pop(claim.event_id, None)

    async def turn(self, key: str) -> asyncio.Lock:
        """The turn at one message, taken: its answer, its edits and its deletion are worked on one after the other."""
        lock = self._turns.setdefault(key, asyncio.Lock())
        await lock.acquire()
        return lock

    def stop(self, channel: str, thread: str) -> int:
        """End the answers that are being written in a thread with what they have; returns how many."""
        found = [
            claim
            for message, claim in self._claims.values()
            if message.channel == channel and thread in (message.thread, message.ts)
        ]
        for claim in found:
            claim.stop.set()
        return len(found)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Work that may be lost with the process: a view that is opened again, a confirmation."""
        task = asyncio.create_task(self._quietly(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except (Refused, Unreachable, TryLater, SQLAlchemyError, OSError) as error:
            reason = str(error) if isinstance(error, Refused) else type(error).__name__
            log.warning("slack.not_done", what=name, reason=reason)
        except Exception:
            log.exception("slack.not_done", what=name)

    async def close(self, seconds: float) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()


def place_of(message: Message) -> str:
    """A channel's name among the settings."""
    return f"{message.team}:{message.channel}"
