"""``almanac_questions_in_flight``, as a scrape of ``/metrics`` reads it, and what scales the bots by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.answering.answer import Answering
from assistant.answering.messages import AnswerEvent, Delta, Question
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief
from assistant.services import Services
from assistant.settings import load_settings
from assistant.telemetry import Metrics
from bot.app import create_application
from bot.inbox import Inbox
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve
from tests.core.test_inbox import Recorder
from tests.infra.overlays import KUBERNETES, named, overlay
from tests.infra.promql import SCRAPED, Prometheus
from tests.leases import end_leases
from tests.web.client import ROLL_BACK

PAGE = Page("a.md", "Rolling back", ("To roll back a deployment, run `ferry rollback`.",))
SECONDS = 20.0
Sample = tuple[str, dict[str, str], float]


class Bot:
    """A bot as ``bot.app`` makes it, on a socket; its model writes only while ``gate`` is open."""

    def __init__(self, engine: AsyncEngine, sessions: Sessions, error: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.url = ""
        embedder, metrics = WordEmbedder(), Metrics()
        self.model = FakeModel("Run `ferry rollback` [1].", error=error, before=self._wait)
        searcher = Searcher(sessions, embedder)
        answering = Answering(sessions, searcher, self.model, metrics, max_chars=200, timeout=60)
        settings = load_settings(_env_file=None)
        self.services = Services(settings, engine, sessions, embedder, searcher, self.model, answering, metrics)

    async def _wait(self, _brief: Brief) -> None:
        await self.gate.wait()

    async def scraped(self, client: aiohttp.ClientSession) -> list[Sample]:
        async with client.get(f"{self.url}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
            return [(it.name, it.labels, it.value) for family in families for it in family.samples]

    async def in_flight(self, client: aiohttp.ClientSession) -> dict[str, float]:
        """What is told, of the platforms that have some."""
        found = await self.scraped(client)
        told = {labels["platform"]: value for name, labels, value in found if name == "almanac_questions_in_flight"}
        assert set(told) >= {"slack", "teams", "web", "mcp", "terminal"}  # told before the first question
        return {platform: value for platform, value in told.items() if value}

    async def until(self, client: aiohttp.ClientSession, **wanted: float) -> None:
        async with asyncio.timeout(SECONDS):
            while (told := await self.in_flight(client)) != wanted:
                await asyncio.sleep(0.05)
        assert told == wanted


Start = Callable[..., Any]


@pytest.fixture
async def start(engine: AsyncEngine, sessions: Sessions) -> AsyncIterator[Start]:
    await shelve(sessions, WordEmbedder(), PAGE)
    async with AsyncExitStack() as stack:

        async def begin(error: Exception | None = None) -> Bot:
            bot = Bot(engine, sessions, error)
            runner = web.AppRunner(create_application(bot.services), shutdown_timeout=1, handler_cancellation=True)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            bot.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return bot

        yield begin


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


async def ask(client: aiohttp.ClientSession, bot: Bot) -> str:
    async with client.post(f"{bot.url}/api/ask", json={"question": ROLL_BACK}) as response:
        return await response.text()


async def test_questions_at_once_are_counted_while_they_last(start: Start, client: aiohttp.ClientSession) -> None:
    bot = await start()
    assert await bot.in_flight(client) == {}
    asking = [asyncio.create_task(ask(client, bot)) for _ in range(7)]
    await bot.until(client, web=7)
    bot.gate.set()
    assert all("event: done" in said for said in await asyncio.gather(*asking))
    assert await bot.in_flight(client) == {}


async def test_whoever_leaves_is_counted_no_longer(start: Start, client: aiohttp.ClientSession) -> None:
    bot = await start()
    asking = [asyncio.create_task(ask(client, bot)) for _ in range(3)]
    await bot.until(client, web=3)
    asking[0].cancel()  # its connection is closed
    await bot.until(client, web=2)
    bot.gate.set()
    await asyncio.gather(*asking[1:])
    await bot.until(client)


@pytest.mark.parametrize("error", [RuntimeError("boom"), ValueError("no")])
async def test_what_fails_is_counted_no_longer(start: Start, client: aiohttp.ClientSession, error: Exception) -> None:
    bot = await start(error)
    bot.gate.set()
    assert '"outcome":"failed"' in (await ask(client, bot)).replace(": ", ":")
    async with client.post(f"{bot.url}/api/ask", json={"question": "   "}) as response:
        assert response.status == 400  # rejected inside the use case
    assert await bot.in_flight(client) == {}


async def test_a_handler_that_crashes_in_the_middle_leaves_nothing_behind(
    start: Start, client: aiohttp.ClientSession
) -> None:
    """Without ``aclosing``, too: what nobody holds any more is closed by the event loop."""
    bot = await start()
    bot.gate.set()

    async def crashes() -> None:
        question = Question(ROLL_BACK, "slack:T:U", Audience.everyone(), "slack", "T:C:1")
        async for event in bot.services.answering.ask(question):
            if isinstance(event, Delta):
                assert await bot.in_flight(client) == {"slack": 1}
                raise KeyError("rendering")

    with pytest.raises(KeyError):
        await crashes()
    await bot.until(client)


class Front(Recorder):
    platform = "slack"

    async def question(self, event: Any) -> Question:
        return Question(event.payload["text"], "mia", Audience.everyone(), "slack", "c", event.id)


class Waiting:
    """The bot's own use case, for its inbox."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def ask(self, question: Question, stop: asyncio.Event | None = None) -> AsyncGenerator[AnswerEvent, None]:
        return self._bot.services.answering.ask(question, stop)


async def test_a_question_that_was_taken_over_is_counted_where_it_is_worked_on(
    start: Start, client: aiohttp.ClientSession, sessions: Sessions, database_url: str
) -> None:
    """The first bot hangs, and loses its lease; the second answers; the first lets go without having sent anything."""
    hung, heir = await start(), await start()
    first, second = Front(), Front()
    boxes = [Inbox(first, Waiting(hung), sessions, 60), Inbox(second, Waiting(heir), sessions, 60)]
    boxes[0].start()
    try:
        await boxes[0].store("Ev1", "C1:1", {"text": ROLL_BACK})
        await hung.until(client, slack=1)
        for loop in boxes[0]._loops:  # it neither renews its leases nor looks for more
            loop.cancel()
        boxes[1].start()
        await end_leases(database_url)
        await heir.until(client, slack=1)
        assert await hung.in_flight(client) == {"slack": 1}
        heir.gate.set()
        await heir.until(client)
        hung.gate.set()
        await hung.until(client)
    finally:
        await asyncio.gather(*(box.stop(grace=0.1) for box in boxes))
    assert [name for name, _ in second.sent] == ["Ev1"]
    assert first.sent == []


async def test_stopping_counts_to_nothing(start: Start, client: aiohttp.ClientSession, sessions: Sessions) -> None:
    bot, front = await start(), Front()
    box = Inbox(front, Waiting(bot), sessions, 60)
    box.start()
    await box.store("Ev1", "C1:1", {"text": ROLL_BACK})
    await bot.until(client, slack=1)
    await box.stop(grace=0.1)
    assert await bot.in_flight(client) == {}


def asked_by_keda(place: str | None) -> tuple[str, float]:
    """The bots' query and how many one is for."""
    resources = overlay(place) if place else overlay_of_component()
    trigger = named(resources, "ScaledObject", "almanac-bot")["spec"]["triggers"][0]["metadata"]
    return trigger["query"], float(trigger["threshold"])


def overlay_of_component() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load_all((KUBERNETES / "components/keda/scaling.yaml").read_text("utf-8")))


@pytest.mark.parametrize("place", [None, "aws", "azure"])
async def test_bots_are_scaled_by_what_they_work_on_and_what_waits(
    start: Start, client: aiohttp.ClientSession, sessions: Sessions, place: str | None
) -> None:
    """Two real bots are scraped as Prometheus would, and KEDA's own query is asked of what was read."""
    query, threshold = asked_by_keda(place)
    bots = [await start(), await start()]
    asking = [asyncio.create_task(ask(client, bots[n % 2])) for n in range(9)]
    await bots[0].until(client, web=5)
    await bots[1].until(client, web=4)
    async with sessions.begin() as session:
        for n, held in enumerate(("NULL", "NULL", "now() + interval '1 h'")):  # the third is being worked on
            await session.execute(text(
                "INSERT INTO inbox (platform, event_id, message_key, payload, claimed_until)"
                f" VALUES ('slack', 'e{n}', 'm{n}', '{{}}', {held})"
            ))  # fmt: skip
    read = [
        (name, {**labels, "instance": str(n)}, lambda _, value=value: value)
        for n, bot in enumerate(bots)
        for name, labels, value in await bot.scraped(client)
    ]
    found = Prometheus(read).query(query, 10 * SCRAPED)
    assert isinstance(found, dict)
    assert list(found.values()) == [9 + 2]  # both bots see the same two events that nobody holds
    assert 11 / threshold > len(bots)  # so that a third is made
    for bot in bots:
        bot.gate.set()
    await asyncio.gather(*asking)


def test_one_scrape_alone_scales_nothing() -> None:
    query, threshold = asked_by_keda("aws")
    series = [
        ("almanac_questions_in_flight", {"platform": "web"}, lambda at: 12.0 if at == 10 * SCRAPED else 0.0),
        ("almanac_queue_depth", {"queue": "inbox_slack"}, lambda _: 0.0),
    ]
    found = Prometheus(series).query(query, 10 * SCRAPED)
    assert isinstance(found, dict)
    assert list(found.values()) == [3.0]
    assert threshold > 3.0
