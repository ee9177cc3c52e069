"""From a stored event to its one visible answer, for every chat platform.

Delivery is at-least-once underneath and exactly-once to the eye: an event is stored before it is acknowledged, worked
on under a lease, and closed after its answer was sent. A crash in between leaves it open; the next attempt finds the
stored answer, looks for what was already sent, and only sends what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering.messages import AnswerEvent, Question
from assistant.database import inbox
from assistant.database.inbox import Event, Reply
from assistant.database.session import Sessions

log = structlog.get_logger()

IN_FLIGHT = 32  # worked on at once
MOST_HELD = 256  # those among them that only wait for work of others included
MAX_ATTEMPTS = 6
MAX_WAITS = 100  # attempts in all, those that the platform asked to repeat later included
POLL_SECONDS = 1.0  # also finds what other, dead processes left behind


class Assistant(Protocol):
    """The one use case that front ends call."""

    def ask(self, question: Question, stop: asyncio.Event | None = None) -> AsyncGenerator[AnswerEvent, None]: ...


class LostClaim(Exception):
    """Another process has taken the event over; nothing more may be sent for it here."""


class TryLater(Exception):
    """The platform asked to wait ``delay`` seconds (a rate limit, an outage); the event stays open."""

    def __init__(self, delay: float, reason: str) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Claim:
    """This process's hold on one event. Set ``stop`` when the asker wants no more of the answer."""

    event_id: uuid.UUID
    owner: str
    sessions: Sessions
    stop: asyncio.Event
    resting: set[uuid.UUID] = field(default_factory=set)  # what the process holds and does nothing for

    @contextlib.contextmanager
    def rest(self) -> Iterator[None]:
        """While the event only waits for work of others, such as a worker that may be away for hours: what others ask
        is taken up meanwhile."""
        self.resting.add(self.event_id)
        try:
            yield
        finally:
            self.resting.discard(self.event_id)

    async def check(self) -> None:
        """Raise ``LostClaim`` unless the event is still ours. Called just before anything visible is done."""
        async with self.sessions() as session:
            if not await inbox.holds(session, self.event_id, self.owner):
                raise LostClaim

    async def remember(self, reply: dict[str, Any]) -> None:
        """Keep the platform's id of a message that was sent, for a later attempt to find."""
        async with self.sessions.begin() as session:
            await inbox.remember_reply(session, self.event_id, reply)


class FrontEnd(Protocol):
    """One platform. ``deliver`` consumes the stream and returns what was sent (JSON), as stored with the event.

    ``question`` is None for an event that asks nothing (a command, a button); ``deliver`` then gets no stream.

    ``event.attempts`` above 1, or ``event.reply``, say that an earlier attempt may have sent something: ``deliver``
    looks for it first. ``LostClaim`` passes through; ``TryLater`` leaves the event open for a while.
    """

    platform: str

    async def question(self, event: Event) -> Question | None: ...

    async def deliver(
        self, event: Event, stream: AsyncIterator[AnswerEvent] | None, claim: Claim
    ) -> dict[str, Any]: ...


class Inbox:
    """Stores the events of one platform and works them off."""

    def __init__(self, front_end: FrontEnd, assistant: Assistant, sessions: Sessions, lease_seconds: float) -> None:
        self._front_end = front_end
        self._assistant = assistant
        self._sessions = sessions
        self._lease = timedelta(seconds=lease_seconds)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._wake = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], uuid.UUID] = {}  # what is in flight, and for which event
        self._stops: dict[uuid.UUID, asyncio.Event] = {}
        self._resting: set[uuid.UUID] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False  # takes nothing new
        self._stopped = False  # nothing is in flight any more

    async def store(self, event_id: str, message_key: str, payload: dict[str, Any]) -> bool:
        """Store an event durably; False when it was there already. Acknowledge only after this returns."""
        async with self._sessions.begin() as session:
            new = await inbox.store(session, self._front_end.platform, event_id, message_key, payload)
        self._wake.set()
        return new

    async def cancel(self, message_key: str) -> bool:
        """Close an event whose message was taken back; False when there is none that is still open.

        What is in flight for it here stops; wherever it is in flight, its claim is lost before it sends the next thing.
        """
        async with self._sessions.begin() as session:
            event_id = await inbox.cancel(session, self._front_end.platform, message_key)
        if event_id is not None and (stop := self._stops.get(event_id)):
            stop.set()
        return event_id is not None

    async def reply_of(self, message_key: str) -> Reply | None:
        """What was sent for a stored event, and with which answer; None when there is no such event."""
        async with self._sessions() as session:
            return await inbox.reply_of(session, self._front_end.platform, message_key)

    def start(self) -> None:
        name = self._front_end.platform
        self._loops = [
            asyncio.create_task(self._until(lambda: self._stopping, self._take), name=f"inbox-{name}"),
            asyncio.create_task(self._until(lambda: self._stopped, self._renew), name=f"leases-{name}"),
        ]

    async def stop(self, grace: float = 10.0) -> None:
        """Take nothing new, wait for what is in flight, give back the rest."""
        self._stopping = True
        self._loops[0].cancel()  # leases are renewed until the end
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        self._stopped = True
        for task in (*self._tasks, *self._loops):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._loops, return_exceptions=True)
        with contextlib.suppress(SQLAlchemyError, OSError):
            async with self._sessions.begin() as session:
                await inbox.release(session, self._owner)

    async def _until(self, over: Callable[[], bool], step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` again and again; a database that is away is waited for.

        A cancellation may be lost in a driver that is busy, so ``over`` is asked each time as well.
        """
        while not over():
            try:
                await step()
            except (SQLAlchemyError, OSError) as error:
                log.warning("inbox.database_away", platform=self._front_end.platform, error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)
            except Exception:  # a loop that ends silently would answer nobody
                log.exception("inbox.loop_failed", platform=self._front_end.platform)
                await asyncio.sleep(POLL_SECONDS)

    async def _take(self) -> None:
        held = len(self._tasks)
        room = min(IN_FLIGHT - held + len(self._resting), MOST_HELD - held)
        events: list[Event] = []
        self._wake.clear()
        if room > 0:
            async with self._sessions.begin() as session:
                events = await inbox.claim(session, self._front_end.platform, self._owner, self._lease, room)
        for event in events:
            if event.id in self._tasks.values():  # this process was busy for longer than its lease, and found its own
                continue
            task = asyncio.create_task(self._work(event), name=f"event-{event.id}")
            self._tasks[task] = event.id
            task.add_done_callback(self._finished)
        if not events:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):  # wait_for can lose a cancellation before Python 3.12
                    await self._wake.wait()

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._wake.set()

    async def _renew(self) -> None:
        await asyncio.sleep(self._lease.total_seconds() / 3)
        async with self._sessions.begin() as session:
            await inbox.renew(session, list(self._tasks.values()), self._owner, self._lease)

    async def _work(self, event: Event) -> None:
        """One attempt at one event. Where even its end cannot be stored, its lease runs out and it is tried again."""
        try:
            await self._attempt(event)
        except (SQLAlchemyError, OSError) as error:
            log.warning("event.left_open", inbox_id=str(event.id), error=type(error).__name__)

    async def _attempt(self, event: Event) -> None:
        bound = log.bind(platform=event.platform, inbox_id=str(event.id), attempt=event.attempts)
        try:
            reply = await self._deliver(event)
        except LostClaim:
            bound.warning("event.claim_lost")
        except TryLater as error:
            bound.warning("event.later", seconds=error.delay, reason=str(error))
            await self._later_or_fail(event, error)
        except Exception as error:
            bound.exception("event.failed")
            await self._retry_or_fail(event, error)
        else:
            async with self._sessions.begin() as session:
                await inbox.finish(session, event.id, self._owner, reply, None)
            bound.info("event.done")

    async def _deliver(self, event: Event) -> dict[str, Any]:
        stop = self._stops[event.id] = asyncio.Event()
        claim = Claim(event.id, self._owner, self._sessions, stop, self._resting)
        try:
            question = await self._front_end.question(event)
            if question is None:
                return await self._front_end.deliver(event, None, claim)
            async with aclosing(self._assistant.ask(question, stop)) as stream:
                return await self._front_end.deliver(event, stream, claim)
        finally:
            self._stops.pop(event.id, None)

    async def _later_or_fail(self, event: Event, error: TryLater) -> None:
        if event.attempts < MAX_WAITS:
            await self._later(event, error.delay, str(error))
        else:
            await self._give_up(event, str(error))

    async def _retry_or_fail(self, event: Event, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"[:500]
        if event.attempts < MAX_ATTEMPTS:
            await self._later(event, min(60.0, 2.0 ** (event.attempts - 1)), reason)
            return
        await self._give_up(event, reason)

    async def _give_up(self, event: Event, reason: str) -> None:
        log.error("event.given_up", platform=event.platform, inbox_id=str(event.id), attempt=event.attempts)
        async with self._sessions.begin() as session:
            await inbox.finish(session, event.id, self._owner, None, reason)

    async def _later(self, event: Event, seconds: float, reason: str) -> None:
        async with self._sessions.begin() as session:
            await inbox.retry_later(session, event.id, self._owner, timedelta(seconds=seconds), reason)
