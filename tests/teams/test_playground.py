"""The real Microsoft 365 Agents Playground in front of the bot, in anonymous mode: no app id, no cloud.

A development tool under a pre-release licence: installed from npm into a cache outside the project, never vendored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.tables import Vote
from assistant.embedded import free_port
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from tests.teams.double import TeamsDouble
from tests.teams.parts import QUESTION, Bot, ScriptedModel, make_services, make_settings, running_bot

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "almanac-playground"
PACKAGE = "@microsoft/m365agentsplayground"
VERSION = "0.2.28"
ANONYMOUS = {
    "teams_anonymous": True, "teams_app_id": None, "teams_app_password": None,
    "teams_app_type": "MultiTenant", "teams_app_tenant_id": None,
}  # fmt: skip


@dataclass
class Playground:
    """Its REST API and the stream of what its window would show."""

    url: str
    http: aiohttp.ClientSession
    stream: aiohttp.ClientWebSocketResponse
    config: dict[str, Any]

    async def say(self, conversation: str, text: str, **more: Any) -> None:
        sender = {"id": self.config["currentUser"]["id"]}
        body = {"from": sender, "text": text, "textFormat": "plain", **more}
        url = f"{self.url}/_conversation/v1/conversations/{conversation}/messages"
        async with self.http.post(url, json=body) as response:
            assert response.status == 200, await response.text()

    async def shown(self, words: str, timeout: float = 15.0) -> str:
        """The first thing on the stream that holds ``words``."""
        async with asyncio.timeout(timeout):
            while True:
                event = await self.stream.receive_str()
                if words in event:
                    return event


@pytest.fixture(scope="session")
async def cli() -> Path:
    """The Playground's command, installed once a machine."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("the Playground needs npm and node, which are not here")
    cli = CACHE / "node_modules" / PACKAGE / "cli.js"
    if not cli.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        install = await asyncio.create_subprocess_exec(
            "npm", "install", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}", cwd=CACHE,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(install.wait(), 120)
        if install.returncode is None:
            install.kill()
            await install.wait()
    if not cli.exists():
        pytest.skip(f"npm could not install {PACKAGE}")
    return cli


@pytest.fixture
async def bot(double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder) -> AsyncIterator[Bot]:
    services = make_services(make_settings(double, **ANONYMOUS), filled, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        yield bot


@pytest.fixture
async def playground(cli: Path, bot: Bot) -> AsyncIterator[Playground]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "node", str(cli), "start", "-e", f"{bot.url}/api/messages", "-c", "msteams", "-p", str(port),
        "--disable-telemetry", env={**os.environ, "TEAMSAPPTESTER_BROWSER": "none"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as http:
            config = await started(http, url)
            async with http.ws_connect(f"{url}/_ws_conversation/v1/conversations/stream") as stream:
                yield Playground(url, http, stream, config)
    finally:
        process.terminate()
        await process.wait()


async def started(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/_internal/v1/config") as response:
                    config: dict[str, Any] = (await response.json())["config"]
                    return config
            await asyncio.sleep(0.1)


async def test_a_question_is_answered_and_voted_on(playground: Playground, bot: Bot) -> None:
    chat = playground.config["personalChat"]["id"]
    await playground.say(chat, QUESTION)
    await playground.shown(say("teams.looking"))
    shown = await playground.shown("on-call engineer")
    assert "AIGeneratedContent" in shown
    assert "Ledger runbook" in shown
    [event] = await bot.settled()
    assert event.state == "done"
    value = {"actionName": "feedback", "actionValue": {"reaction": "like", "feedback": "plain words"}}
    await invoke(playground, chat, value)
    async with bot.services.sessions() as session:
        [vote] = (await session.execute(select(Vote))).scalars()
    assert (vote.value, vote.reason) == (1, "plain words")


async def test_a_mention_in_the_group_chat_is_answered(playground: Playground, bot: Bot) -> None:
    group, name = playground.config["groupChats"][0]["id"], playground.config["bot"]["name"]
    mentions = [{"mentioned": {"id": playground.config["bot"]["id"]}, "text": f"<at>{name}</at>"}]
    await playground.say(group, f"<at>{name}</at> {QUESTION}", mentions=mentions)
    await playground.shown("on-call engineer")
    [event] = await bot.settled()
    assert event.payload["text"] == QUESTION
    assert not event.payload["personal"]


async def test_an_answer_of_many_kilobytes_arrives(
    playground: Playground, bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.services.model, "text", "\n\n".join(["Слово за слово. " * 100 + "[1]"] * 40))
    await playground.say(playground.config["personalChat"]["id"], QUESTION)
    [event] = await bot.settled()
    assert event.state == "done", event.error
    assert event.reply is not None
    assert len(event.reply["more"]) >= 1


async def invoke(playground: Playground, chat: str, value: dict[str, Any]) -> None:
    sender = {"id": playground.config["currentUser"]["id"]}
    body = {"name": "message/submitAction", "from": sender, "conversation": {"id": chat}, "value": value}
    async with playground.http.post(f"{playground.url}/_conversation/v1/invoke", json=body) as response:
        assert response.status == 200, await response.text()
