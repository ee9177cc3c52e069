"""One delivery per event, whoever dies, waits or fails on the way."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from assistant.answering.answer import Answering
from assistant.answering.messages import AnswerEvent, Done, Question
from assistant.database import inbox
from assistant.database.inbox import Event
from assistant.database.session import Sessions
from assistant.database.tables import Answer
from assistant.database.tables import Inbox as Row
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.telemetry import Metrics
from bot.inbox import MAX_ATTEMPTS, Claim, Inbox, LostClaim, TryLater
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve

ROLLBACK = Page("a.md", "Rolling back", ("To roll back a service, run `ferry rollback`.",))


class Recorder:
    """A platform that notes what became visible. ``troubles`` come first, one a delivery."""

    platform = "test"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.attempts: list[tuple[str, int]] = []
        self.troubles: deque[Exception] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[Event, Claim], Any] | None = None

    async def question(self, event: Event) -> Question:
        return Question(event.payload["text"], "mia", Audience.everyone(), "test", "c", event.id)

    async def deliver(self, event: Event, stream: AsyncIterator[AnswerEvent], claim: Claim) -> dict[str, Any]:
        self.attempts.append((event.event_id, event.attempts))
        if self.troubles:
            raise self.troubles.popleft()
        answers = [item.answer async for item in stream if isinstance(item, Done)]
        await self.gate.wait()
        if self.before is not None:
            await self.before(event, claim)
        await claim.check()
        self.sent.append((event.event_id, str(answers[0].id)))
        return {"ts": event.event_id}


class Assistant:
    """The real use case; made anew for each inbox, as for each process."""

    def __init__(self, sessions: Sessions, model: FakeModel) -> None:
        searcher = Searcher(sessions, WordEmbedder())
        self._answering = Answering(sessions, searcher, model, Metrics(), max_chars=200, timeout=60)

    def ask(self, question: Question, stop: asyncio.Event | None = None) -> AsyncGenerator[AnswerEvent, None]:
        return self._answering.ask(question)


@pytest.fixture
async def indexed(sessions: Sessions) -> Sessions:
    await shelve(sessions, WordEmbedder(), ROLLBACK)
    return sessions


@asynccontextmanager
async def running(
    sessions: Sessions, front_end: Recorder, model: FakeModel | None = None, lease: float = 10.0
) -> AsyncIterator[Inbox]:
    box = Inbox(front_end, Assistant(sessions, model or FakeModel("Run `ferry rollback` [1].")), sessions, lease)
    box.start()
    try:
        yield box
    finally:
        await box.stop(grace=0.1)


async def store(box: Inbox, name: str = "Ev1", message: str | None = None) -> bool:
    return await box.store(name, message or f"C1:{name}", {"text": "How do I roll back a service?"})


async def rows(sessions: Sessions) -> list[Row]:
    async with sessions() as session:
        return list((await session.execute(select(Row).order_by(Row.event_id))).scalars())


async def until(sessions: Sessions, *states: str, seconds: float = 60.0) -> list[Row]:
    """Wait until the events stand in these states."""
    async with asyncio.timeout(seconds):
        while [row.state for row in await rows(sessions)] != list(states):
            await asyncio.sleep(0.02)
    return await rows(sessions)


async def hurry(sessions: Sessions) -> None:
    """Let what waits be taken now."""
    async with sessions.begin() as session:
        await session.execute(update(Row).where(Row.claimed_by.is_(None)).values(claimed_until=None))


async def test_one_event_is_delivered_once_however_often_it_comes(indexed: Sessions) -> None:
    front_end = Recorder()
    model = FakeModel("Run `ferry rollback` [1].")
    async with running(indexed, front_end, model) as box, running(indexed, front_end, model) as other:
        new = await asyncio.gather(*(store(which) for which in [box, other] * 10))
        again = await store(box, "Ev2", message="C1:Ev1")  # the same message under another event's name
        [row] = await until(indexed, "done")
        assert not await store(box)  # and once more when all is over
        await asyncio.sleep(0.3)
    assert Counter(new) == {True: 1, False: 19}
    assert not again
    assert len(front_end.sent) == len(model.asked) == 1
    assert (row.attempts, row.reply) == (1, {"ts": "Ev1"})


async def test_many_events_and_two_processes_give_one_answer_each(indexed: Sessions) -> None:
    front_end = Recorder()
    names = [f"Ev{n:02}" for n in range(40)]
    async with running(indexed, front_end) as box, running(indexed, front_end) as other:
        await asyncio.gather(*(store(box if n % 2 else other, name) for n, name in enumerate(names)))
        await until(indexed, *["done"] * 40)
    assert sorted(name for name, _ in front_end.sent) == names


async def test_who_lost_the_claim_sends_nothing(indexed: Sessions) -> None:
    front_end = Recorder()

    async def steal(event: Event, _claim: Claim) -> None:
        async with indexed.begin() as session:
            later = text("UPDATE inbox SET claimed_by = 'other', claimed_until = now() + interval '1 hour'")
            await session.execute(later)

    front_end.before = steal
    async with running(indexed, front_end) as box:
        await store(box)
        async with asyncio.timeout(60):
            while not front_end.attempts:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    assert front_end.sent == []
    [row] = await rows(indexed)
    assert (row.state, row.claimed_by, row.attempts) == ("working", "other", 1)  # the other's work goes on


async def test_a_platform_that_asks_to_wait_is_asked_again(indexed: Sessions) -> None:
    front_end = Recorder()
    front_end.troubles.append(TryLater(0.3, "ratelimited"))
    async with running(indexed, front_end) as box:
        await store(box)
        [row] = await until(indexed, "done")
    assert front_end.attempts == [("Ev1", 1), ("Ev1", 2)]
    assert len(front_end.sent) == 1
    assert row.attempts == 2
    async with indexed() as session:
        assert len((await session.execute(select(Answer.id))).all()) == 1


async def test_what_waits_is_not_taken_early(indexed: Sessions) -> None:
    front_end = Recorder()
    front_end.troubles.append(TryLater(60, "ratelimited"))
    async with running(indexed, front_end) as box:
        await store(box)
        async with asyncio.timeout(60):
            while (await rows(indexed))[0].error is None:
                await asyncio.sleep(0.02)
        await store(box, "Ev2")
        rows_ = await until(indexed, "working", "done")
    assert rows_[0].error == "ratelimited"
    assert rows_[0].claimed_by is None
    assert front_end.attempts == [("Ev1", 1), ("Ev2", 1)]


async def test_an_error_is_tried_again_with_growing_waits_and_fails_in_the_end(
    indexed: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox.POLL_SECONDS", 0.1)
    front_end = Recorder()
    front_end.troubles.extend(RuntimeError("boom") for _ in range(MAX_ATTEMPTS))
    waits: list[float] = []
    async with running(indexed, front_end) as box:
        await store(box)
        for attempt in range(1, MAX_ATTEMPTS):
            async with asyncio.timeout(60):
                while (row := (await rows(indexed))[0]).claimed_by or row.attempts < attempt or row.error is None:
                    await asyncio.sleep(0.02)
            async with indexed() as session:
                wait = await session.execute(text("SELECT extract(epoch FROM claimed_until - now()) FROM inbox"))
                waits.append(float(wait.scalar_one()))
            await hurry(indexed)
        [row] = await until(indexed, "failed")
    assert row.attempts == MAX_ATTEMPTS
    assert row.error == "RuntimeError: boom"
    assert row.done_at is not None
    assert waits == pytest.approx([1, 2, 4, 8, 16], abs=0.9)
    assert front_end.sent == []


async def test_an_error_in_one_event_stops_no_other(indexed: Sessions) -> None:
    front_end = Recorder()
    front_end.troubles.append(RuntimeError("boom"))
    async with running(indexed, front_end) as box:
        await store(box, "Ev1")
        async with asyncio.timeout(60):
            while not front_end.attempts:
                await asyncio.sleep(0.02)
        await store(box, "Ev2")
        await until(indexed, "done", "done")
    assert sorted(name for name, _ in front_end.sent) == ["Ev1", "Ev2"]


async def claimed(sessions: Sessions, owner: str, seconds: float) -> None:
    async with sessions.begin() as session:
        await inbox.store(session, "test", "Ev1", "C1:1", {"text": "How do I roll back a service?"})
        [event] = await inbox.claim(session, "test", owner, timedelta(seconds=seconds), 1)
    assert event.attempts == 1


async def test_what_a_dead_process_held_is_taken_over_when_its_lease_ends_and_not_before(indexed: Sessions) -> None:
    await claimed(indexed, "dead", 1.5)
    front_end = Recorder()
    async with running(indexed, front_end):
        await asyncio.sleep(0.8)
        assert front_end.attempts == []
        [row] = await until(indexed, "done")
    assert front_end.attempts == [("Ev1", 2)]
    assert row.attempts == 2


async def test_a_lease_is_kept_while_the_work_goes_on(indexed: Sessions) -> None:
    slow, other = Recorder(), Recorder()
    slow.gate.clear()
    async with running(indexed, slow, lease=1.0) as box:
        await store(box)
        async with asyncio.timeout(60):
            while not slow.attempts:
                await asyncio.sleep(0.02)
        async with running(indexed, other, lease=1.0):
            await asyncio.sleep(1.8)
            slow.gate.set()
            await until(indexed, "done")
    assert other.attempts == []
    assert len(slow.sent) == 1


async def test_stopping_gives_back_what_is_in_flight(indexed: Sessions) -> None:
    stuck, other = Recorder(), Recorder()
    stuck.gate.clear()
    async with running(indexed, stuck, lease=60) as box:
        await store(box)
        async with asyncio.timeout(60):
            while not stuck.attempts:
                await asyncio.sleep(0.02)
    [row] = await rows(indexed)
    assert (row.claimed_by, row.claimed_until) == (None, None)
    async with running(indexed, other, lease=60):
        await until(indexed, "done", seconds=5)
    assert stuck.sent == []
    assert len(other.sent) == 1


async def test_stopping_waits_for_what_is_nearly_done(indexed: Sessions) -> None:
    front_end = Recorder()

    async def linger(_event: Event, _claim: Claim) -> None:
        await asyncio.sleep(0.4)

    front_end.before = linger
    box = Inbox(front_end, Assistant(indexed, FakeModel("Run `ferry rollback` [1].")), indexed, 10)
    box.start()
    await store(box)
    async with asyncio.timeout(60):
        while not front_end.attempts:
            await asyncio.sleep(0.02)
    await box.stop(grace=5)
    assert len(front_end.sent) == 1
    assert [row.state for row in await rows(indexed)] == ["done"]


async def test_no_more_is_claimed_than_was_asked_for(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        for n in range(30):
            await inbox.store(session, "test", f"Ev{n:02}", f"C:{n}", {})
        await inbox.store(session, "other", "Ev00", "C:0", {})
        await session.execute(
            text("UPDATE inbox SET received_at = now() - (30 - right(event_id, 2)::int) * interval '1s'")
        )
        await session.execute(text("ANALYZE inbox"))

    async def take(owner: str, count: int) -> list[str]:
        async with sessions.begin() as session:
            return [event.event_id for event in await inbox.claim(session, "test", owner, timedelta(seconds=9), count)]

    assert await take("a", 1) == ["Ev00"]
    batches = await asyncio.gather(*(take(f"p{n}", 4) for n in range(4)))
    assert [len(batch) for batch in batches] == [4] * 4
    assert len({name for batch in batches for name in batch}) == 16


async def test_a_claim_is_checked_by_owner_and_time(sessions: Sessions) -> None:
    await claimed(sessions, "me", 0.5)
    [row] = await rows(sessions)
    await Claim(row.id, "me", sessions, asyncio.Event()).check()
    with pytest.raises(LostClaim):
        await Claim(row.id, "you", sessions, asyncio.Event()).check()
    await asyncio.sleep(0.6)
    with pytest.raises(LostClaim):
        await Claim(row.id, "me", sessions, asyncio.Event()).check()
