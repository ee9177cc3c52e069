"""SIGKILL between any two steps: started again, the bot gives each question its one answer."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess

import psutil
import pytest
from sqlalchemy import func, select

from assistant.database.session import Sessions
from assistant.database.tables import Answer
from bot.slack.pages import pages
from tests.leases import end_leases
from tests.slack import child
from tests.slack.child import STEPS, STREAM_STEPS, Orders
from tests.slack.double import Fault, SlackDouble, send_event, shown
from tests.slack.test_delivery import LONG
from tests.slack.world import QUESTION, settled
from tests.tools.api import until


@dataclass
class Child:
    process: ForkServerProcess
    url: str

    async def ended(self) -> int | None:
        await asyncio.to_thread(self.process.join, 30)
        return self.process.exitcode


Start = Callable[..., AbstractAsyncContextManager[Child]]


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServerContext]:
    """Imports once; each child is a fork of that, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.slack.child"])
    yield context
    from multiprocessing.forkserver import _forkserver

    _forkserver._stop()


@pytest.fixture
def start(forks: ForkServerContext, database_url: str, slack: SlackDouble, library: None) -> Start:
    @asynccontextmanager
    async def running(die: str | None = None, streams: bool = False) -> AsyncIterator[Child]:
        ours, theirs = forks.Pipe(duplex=False)
        orders = Orders(database_url, slack.base_url, LONG, die, streams)
        process = forks.Process(target=child.main, args=(orders, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            assert await asyncio.to_thread(ours.poll, 30), "the child did not start"
            yield Child(process, ours.recv())
        finally:
            ours.close()
            process.kill()
            await asyncio.to_thread(process.join)
            process.close()
            await end_leases(database_url)

    return running


async def assert_one_whole_answer(sessions: Sessions, slack: SlackDouble) -> None:
    parts = [message["metadata"]["event_payload"]["part"] for message in slack.visible]
    assert len(parts) >= 4
    assert parts == list(range(len(parts)))
    async with sessions() as session:
        [answer] = (await session.execute(select(Answer))).scalars()
        assert (await session.execute(select(func.count()).select_from(Answer))).scalar_one() == 1
    assert {m["metadata"]["event_payload"]["answer_id"] for m in slack.visible} == {str(answer.id)}
    assert slack.open_streams() == []
    assert [shown(message) for message in slack.visible] == pages(answer.text)


@pytest.mark.parametrize("step", [*STEPS, "while the model writes", *STREAM_STEPS])
async def test_killed_at_any_step_the_bot_answers_once_when_it_is_back(
    sessions: Sessions, slack: SlackDouble, start: Start, step: str
) -> None:
    event = slack.mention(QUESTION)
    async with start(die=step, streams=step in STREAM_STEPS) as first:
        status = await send_event(first.url, event)
        assert await first.ended() == -signal.SIGKILL
    async with start() as second:
        if status != 200:  # not acknowledged, so Slack delivers again
            assert await send_event(second.url, event, retry=1) == 200
        await settled(sessions)
    await assert_one_whole_answer(sessions, slack)


async def test_killed_while_slack_takes_the_message(sessions: Sessions, slack: SlackDouble, start: Start) -> None:
    slack.faults["chat.postMessage"].append(Fault(effect_first=True, delay=30))
    event = slack.mention(QUESTION)
    async with start() as first:
        assert await send_event(first.url, event) == 200
        await slack.until(1)
        first.process.kill()
        assert await first.ended() == -signal.SIGKILL
    async with start():
        await settled(sessions)
    await assert_one_whole_answer(sessions, slack)


async def test_killed_again_and_again(sessions: Sessions, slack: SlackDouble, start: Start) -> None:
    event = slack.mention(QUESTION)
    for step in ("stored, not acknowledged", "claimed", "message sent, event open", "message sent, event open"):
        async with start(die=step) as crashing:
            await send_event(crashing.url, event, retry=1)
            assert await crashing.ended() == -signal.SIGKILL
    async with start():
        await settled(sessions)
    await assert_one_whole_answer(sessions, slack)


async def test_a_process_that_slept_through_its_lease_sends_nothing(
    sessions: Sessions, slack: SlackDouble, start: Start, database_url: str
) -> None:
    event = slack.mention(QUESTION)
    async with start(die="paused") as sleeper:
        assert await send_event(sleeper.url, event) == 200
        await until(lambda: psutil.Process(sleeper.process.pid).status() == psutil.STATUS_STOPPED)
        await end_leases(database_url)
        async with start():
            await settled(sessions)
        posted = len(slack.called("chat.postMessage"))
        os.kill(sleeper.process.pid or 0, signal.SIGCONT)
        assert await send_event(sleeper.url, event, retry=1) == 200  # awake
        await asyncio.sleep(0.5)
    assert len(slack.called("chat.postMessage")) == posted
    await assert_one_whole_answer(sessions, slack)
