"""How fast Slack's events are acknowledged: a second, and the 99th percentile of the time to the acknowledgement.

The real bot process over a real Postgres; signed events over real sockets from this process, which also stands in for
Slack's Web API; the model answers at once in a process of its own. Everything shares the cores of one machine. Each
acknowledged event is stored, and what is stored is answered meanwhile, so the figure is not that of a bot that only
listens. Each event is in a channel of its own, since Slack takes one message a second for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from assistant.embedded import free_port
from assistant.knowledge.embedding import TransformerEmbedder
from bench.world import HOME, corpus, server

EVENTS = 3_000
WARM = 100
IN_FLIGHT = 20  # deliveries that Slack makes at once
SECRET, TEAM, BOT = "bench-signing-secret", "T0BENCH", "U0BENCH"
ANSWER_SECONDS = 900.0


async def measure() -> dict[str, float]:
    """Acknowledged a second, milliseconds to the acknowledgement, and answered a second."""
    with server() as url:
        embedder = TransformerEmbedder(None, threads=1)
        async with corpus(url, "handbook", embedder) as filled:
            await embedder.close()
            async with _slack() as slack, _processes(filled.url, slack.url) as bot:
                return await _load(bot, slack)


class _Slack:
    """Takes every call of the Web API; ``answered`` counts the messages that are whole."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered = 0
        self._more = asyncio.Event()
        self._numbers = itertools.count(1_700_000_000)

    async def until(self, count: int) -> None:
        while self.answered < count:
            self._more.clear()
            await self._more.wait()

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        self.answered += request.match_info["method"] in ("chat.postMessage", "chat.stopStream")
        self._more.set()
        user = {"id": "U0ASKER", "name": "asker", "locale": "en-GB", "profile": {"display_name": "Asker"}}
        return web.json_response({"ok": True, "ts": f"{next(self._numbers)}.000100", "channel": "C0", "user": user})


@contextlib.asynccontextmanager
async def _slack() -> AsyncIterator[_Slack]:
    port = free_port()
    slack = _Slack(f"http://127.0.0.1:{port}/api/")
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/api/{method}", slack.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield slack
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _processes(database_url: str, slack_url: str) -> AsyncIterator[str]:
    model, port = free_port(), free_port()
    environment = os.environ | {
        "ALMANAC_DATABASE_URL": database_url,
        "ALMANAC_PORT": str(port),
        "ALMANAC_LLM_BASE_URL": f"http://127.0.0.1:{model}/v1",
        "ALMANAC_LLM_MODEL": "instant",
        "ALMANAC_LOG_LEVEL": "WARNING",
        "SLACK_BOT_TOKEN": "xoxb-bench",
        "SLACK_SIGNING_SECRET": SECRET,
        "SLACK_API_BASE_URL": slack_url,
    }
    log = (HOME / "bench-events-bot.log").open("w")
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.instant_model", str(model)),
        await asyncio.create_subprocess_exec(sys.executable, "-m", "bot", env=environment, stdout=log, stderr=log),
    ]
    try:
        await _ready(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}/slack/events"
    finally:
        for child in children:
            child.terminate()
            await child.wait()
        log.close()


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as client:
        for _ in range(600):
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit(f"The bot did not become ready; see {HOME / 'bench-events-bot.log'}.")


async def _load(bot: str, slack: _Slack) -> dict[str, float]:
    """Deliver, acknowledged or not within 3 s as Slack would, then wait for the last answer."""
    run = f"{time.time():.0f}"
    numbers = iter(range(WARM + EVENTS))
    times: list[float] = []
    late = 0
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=3)
    ) as client:

        async def deliver(count: int) -> None:
            nonlocal late
            for number in itertools.islice(numbers, count):
                start = time.perf_counter()
                while not await _deliver(client, bot, _event(run, number)):
                    late += 1
                times.append((time.perf_counter() - start) * 1000)

        await deliver(WARM)
        times.clear()
        began = time.perf_counter()
        await asyncio.gather(*(deliver(EVENTS) for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - began
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await slack.until(WARM + EVENTS)
        answered = time.perf_counter() - began
    if slack.answered != WARM + EVENTS:
        raise SystemExit(f"{WARM + EVENTS} questions, {slack.answered} answers.")
    cuts = statistics.quantiles(times, n=100)
    return {
        "acknowledged_per_second": len(times) / seconds, "p50": cuts[49], "p99": cuts[98], "slowest": max(times),
        "late": late, "answered_per_second": EVENTS / answered,
    }  # fmt: skip


async def _deliver(client: aiohttp.ClientSession, bot: str, body: dict[str, Any]) -> bool:
    """False where no acknowledgement came within 3 s, after which Slack delivers again."""
    raw = json.dumps(body).encode()
    stamp = str(int(time.time()))
    digest = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + raw, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json", "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}",
    }  # fmt: skip
    try:
        async with client.post(bot, data=raw, headers=headers) as response:
            await response.read()
            if response.status != 200:
                raise SystemExit(f"An event was answered with status {response.status}.")
    except TimeoutError:
        return False
    return True


def _event(run: str, number: int) -> dict[str, Any]:
    ts = f"{1_700_000_000 + number}.000200"
    return {
        "type": "event_callback", "team_id": TEAM, "api_app_id": "A0BENCH", "event_id": f"Ev{run}{number}",
        "authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": True}],
        "event": {
            "type": "app_mention", "user": "U0ASKER", "channel": f"C{run}{number}", "ts": ts,
            "text": f"<@{BOT}> Within how many minutes must a ledger release be rolled back? ({number})",
        },
    }  # fmt: skip


def report(result: dict[str, float]) -> None:
    figures = "  ".join(f"{name} {value:.1f}" for name, value in result.items())
    print(f"Slack events, {IN_FLIGHT} in flight: {figures}")


if __name__ == "__main__":
    report(asyncio.run(measure()))
