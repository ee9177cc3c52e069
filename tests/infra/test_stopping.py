"""The bot as its container starts it, on a root that cannot be written to, told to stop while it answers.

The process is the real one with the environment of ``docker-compose.yml``; stand-ins are the model's endpoint, which
takes its time, and Slack.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import text

from assistant.database.session import Sessions
from assistant.embedded import free_port
from assistant.knowledge.embedding import TransformerEmbedder
from tests.infra.files import COMPOSE
from tests.infra.overlays import named, overlay
from tests.infra.programs import ready
from tests.infra.test_containers import settings_of
from tests.slack.double import BOT_TOKEN, SECRET, SlackDouble, deliver
from tests.slack.world import QUESTION, ROLLBACK, index
from tests.web.client import events

ANSWER = "Run `deployctl rollback payments` on the bastion host [1]."
SECONDS = 120.0
SPARE = 2  # a machine that does much else besides gets so many times what an orchestrator would wait
PAGE, CHAT = 4, 3  # questions from the page, and from Slack
# What is left to write to is what Compose mounts; the folder stands for the volume and for /tmp.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'


class SlowModel:
    """An endpoint as OpenAI's, which writes a word in each of ``seconds``."""

    def __init__(self, seconds: float = 0.4) -> None:
        self.seconds = seconds
        self.asked = 0
        self.url = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ANSWER.split(" "):
            await asyncio.sleep(self.seconds)
            await response.write(_said(f"{word} "))
        await response.write(_said(None))
        await response.write(b"data: [DONE]\n\n")
        return response


def _said(word: str | None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": {} if word is None else {"content": word}}
    choice["finish_reason"] = "stop" if word is None else None
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@pytest.fixture
async def model() -> AsyncIterator[SlowModel]:
    model = SlowModel()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", model.complete)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield model
    await runner.cleanup()


def in_a_container(home: Path) -> list[str]:
    """What the command is run by; skips where a file system cannot be made read-only for one process."""
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(home)]
    probe = [*command, "sh", "-c", f"touch {home}/x && ! touch {home.parent}/x 2>/dev/null"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, timeout=30).returncode != 0:
        pytest.skip("this machine lets no process have mounts of its own")
    return command


@dataclass(frozen=True)
class Place:
    """What the bot is given: its settings, and the one folder that it may write to."""

    settings: dict[str, str]
    home: Path
    slack: SlackDouble


@pytest.fixture
async def place(
    database_url: str,
    redis_url: str,
    sessions: Sessions,
    embedder: TransformerEmbedder,
    model: SlowModel,
    tmp_path: Path,
) -> AsyncIterator[Place]:
    await index(sessions, embedder, ROLLBACK)
    home = tmp_path / "home"
    home.mkdir()
    async with SlackDouble().running() as slack:
        said = settings_of("bot", database_url, redis_url, home) | {
            "TMPDIR": str(home), "ALMANAC_LLM_BASE_URL": model.url, "ALMANAC_LLM_MODEL": "m",
            "ALMANAC_LLM_API_KEY": "k", "ALMANAC_LLM_TIMEOUT": "90", "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_SIGNING_SECRET": SECRET, "SLACK_API_BASE_URL": slack.base_url,
        }  # fmt: skip
        yield Place(said, home, slack)


@asynccontextmanager
async def bot(said: dict[str, str], home: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command of Compose, until it is ready; killed at the end if it has not stopped by then."""
    port = str(free_port())
    program = [sys.executable, *COMPOSE["services"]["bot"]["command"][1:]]
    with (home.parent / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *in_a_container(home), *program, env=said | {"ALMANAC_PORT": port}, cwd=home, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as client:
            while not await ready(client, f"{url}/readyz"):
                assert process.returncode is None, (home.parent / "log").read_text()[-3_000:]
                await asyncio.sleep(0.2)
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def asked(client: aiohttp.ClientSession, url: str, token: str) -> dict[str, Any]:
    """The last event of a question's stream."""
    headers = {"Authorization": f"Bearer {token}"}
    async with client.post(f"{url}/api/ask", json={"question": QUESTION}, headers=headers) as response:
        *_, last = [event async for event in events(response)]
    return {"event": last[0], **last[1]}


async def in_flight(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(sum(float(it.rpartition(" ")[2]) for it in lines if it.startswith("almanac_questions_in_flight{")))


async def test_told_to_stop_it_answers_what_it_has_taken_and_ends_with_0(
    place: Place, model: SlowModel, sessions: Sessions
) -> None:
    slack, token = place.slack, place.settings["ALMANAC_WEB_TOKEN"]
    async with aiohttp.ClientSession() as client, bot(place.settings, place.home) as (process, url):
        asking = [asyncio.create_task(asked(client, url, token)) for _ in range(PAGE)]
        for n in range(CHAT):
            assert await deliver(f"{url}/slack/events", slack.mention(f"{QUESTION} ({n})")) >= 1  # acknowledged
        async with asyncio.timeout(SECONDS):
            while await in_flight(client, url) < PAGE + CHAT or model.asked < PAGE + CHAT:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        told = asyncio.get_running_loop().time()
        ended = await asyncio.gather(*asking)
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0
        assert asyncio.get_running_loop().time() - told < SPARE * patience()
        assert not await ready(client, f"{url}/readyz")
    assert [(it["event"], it["outcome"]) for it in ended] == [("done", "answered")] * PAGE
    answers = [message for message in slack.visible if "deployctl rollback payments" in json.dumps(message)]
    assert len(answers) == CHAT
    assert slack.open_streams() == []
    async with sessions() as session:
        states = (await session.execute(text("SELECT state FROM inbox"))).scalars().all()
        outcomes = (await session.execute(text("SELECT outcome FROM answers"))).scalars().all()
    assert list(states) == ["done"] * CHAT
    assert list(outcomes) == ["answered"] * (PAGE + CHAT)


def patience() -> float:
    """Seconds that an orchestrator waits before it kills: Compose's, or Kubernetes' after its preStop if less."""
    pod = named(overlay("local"), "Deployment", "almanac-bot")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    compose = float(COMPOSE["services"]["bot"]["stop_grace_period"].removesuffix("s"))
    return min(compose, pod["terminationGracePeriodSeconds"] - waits)


async def test_what_takes_too_long_is_left_for_another_and_it_ends_with_0_all_the_same(
    place: Place, model: SlowModel, sessions: Sessions
) -> None:
    """An answer that would take a minute: its event stays open, held by nobody, and the bot is gone in time."""
    model.seconds = 8.0
    async with aiohttp.ClientSession() as client, bot(place.settings, place.home) as (process, url):
        assert await deliver(f"{url}/slack/events", place.slack.mention(QUESTION)) >= 1
        async with asyncio.timeout(SECONDS):
            while model.asked < 1:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), SPARE * patience()) == 0
        assert not await ready(client, f"{url}/readyz")
    async with sessions() as session:
        [row] = (await session.execute(text("SELECT state, claimed_by, claimed_until FROM inbox"))).all()
    assert (row.state, row.claimed_by, row.claimed_until) == ("working", None, None)
