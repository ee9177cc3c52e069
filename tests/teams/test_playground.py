"""The real Microsoft 365 Agents Playground in front of the bot, in anonymous mode: no app id, no cloud.

A development tool under a pre-release licence: installed from npm into a cache outside the project, never vendored.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import async_playwright
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.tables import Vote
from assistant.embedded import free_port
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from bot.teams.playground import PACKAGE, VERSION, playing
from tests.browser import FLAGS, browser_path
from tests.teams.double import TeamsDouble
from tests.teams.parts import (
    NPM_CACHE,
    QUESTION,
    Bot,
    ScriptedModel,
    make_services,
    make_settings,
    npm_install,
    running_bot,
)

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

    async def shown(self, words: str, timeout: float = 60.0) -> str:
        """The first thing on the stream that holds ``words``."""
        async with asyncio.timeout(timeout):
            while True:
                event = await self.stream.receive_str()
                if words in event:
                    return event


@pytest.fixture(scope="session")
def cli() -> Path:
    """The Playground's command, installed once a machine."""
    npm_install(PACKAGE, VERSION)
    return NPM_CACHE / "node_modules" / PACKAGE / "cli.js"


@pytest.fixture
async def bot(double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder) -> AsyncIterator[Bot]:
    services = make_services(make_settings(double, **ANONYMOUS), filled, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        yield bot


@pytest.fixture
async def playground(cli: Path, bot: Bot) -> AsyncIterator[Playground]:
    node = shutil.which("node") or "node"
    async with (
        playing(node, cli, f"{bot.url}/api/messages", free_port()) as (_, url),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{url}/_ws_conversation/v1/conversations/stream") as stream,
    ):
        async with http.get(f"{url}/_internal/v1/config") as response:
            config = (await response.json())["config"]
        yield Playground(url, http, stream, config)


async def test_a_question_is_answered_and_voted_on(playground: Playground, bot: Bot) -> None:
    chat = playground.config["personalChat"]["id"]
    await playground.say(chat, QUESTION)
    await playground.shown(say("teams.looking"))
    shown = await playground.shown("on-call engineer")
    print("SHOWN", shown)
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


async def test_what_is_drawn_is_what_was_meant(
    playground: Playground, bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser in front of it: the answer, its citation, its table and its buttons are on the page."""
    path = browser_path()
    if path is None:
        pytest.skip("there is no Chromium on the PATH")
    monkeypatch.setattr(bot.services.model, "text", "{first} [1]\n\n| who | what |\n|---|---|\n| on-call | rollback |")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(playground.url)
        await playground.say(playground.config["personalChat"]["id"], QUESTION)
        await bot.settled()
        for words in ("rolled back by the on-call engineer", "AI generated", "Show sources", "Regenerate", "rollback"):
            await page.get_by_text(words).first.wait_for(timeout=15_000)
        await page.get_by_text("Show sources").first.click()
        await page.get_by_text("Sources of this answer").wait_for(timeout=15_000)
        await browser.close()


async def invoke(playground: Playground, chat: str, value: dict[str, Any]) -> None:
    sender = {"id": playground.config["currentUser"]["id"]}
    body = {"name": "message/submitAction", "from": sender, "conversation": {"id": chat}, "value": value}
    async with playground.http.post(f"{playground.url}/_conversation/v1/invoke", json=body) as response:
        assert response.status == 200, await response.text()
