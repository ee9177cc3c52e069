"""A process that is killed between any two steps, and the one that comes after it: one answer, never two or none.

Between the first message and the storing of its id nothing can help: the Bot Connector has no idempotency key. What
stays behind is one more "Looking in the documents…", and still one answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.embedded import free_port
from bot.teams import texts
from tests.teams.child import STEPS
from tests.teams.double import TeamsDouble
from tests.teams.parts import CHAT, ScriptedModel, WordEmbedder, make_services, make_settings, message, running_bot

ROOT = Path(__file__).parents[2]
ORPHANED = "after the first message, before its id is stored"
NOT_ACKNOWLEDGED = {"before the event is stored", "after it is stored, before the response"}


async def crash(step: str, database: str, double: TeamsDouble, activity: dict[str, Any]) -> int | None:
    """Run the bot in a process of its own until it dies at ``step``; what Teams got for the activity, if anything."""
    port = free_port()
    configuration = {
        "step": step, "database": database, "port": port, "url": double.url, "login_url": double.login_url,
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.teams.child", json.dumps(configuration), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdout is not None
    async with asyncio.timeout(30):
        while (line := await child.stdout.readline()) != b"ready\n":
            assert line, "the child did not start"
        answered = await post(f"http://127.0.0.1:{port}/api/messages", double, activity)
        await child.stdout.read()
        assert await child.wait() == -9
    return answered


async def post(url: str, double: TeamsDouble, activity: dict[str, Any]) -> int | None:
    headers = {"Authorization": f"Bearer {double.token()}"}
    try:
        async with aiohttp.ClientSession() as http, http.post(url, json=activity, headers=headers) as response:
            return response.status
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_leaves_one_answer(step: str, double: TeamsDouble, words: AsyncEngine, words_url: str) -> None:
    activity = message(double)
    answered = await crash(step, words_url, double, activity)
    assert answered is None if step in NOT_ACKNOWLEDGED else answered in {200, None}
    before = double.texts(CHAT)
    services = make_services(make_settings(double), words, WordEmbedder(), ScriptedModel())
    async with running_bot(services, double) as bot:
        if answered is None:
            assert (await bot.deliver(activity))[0] == 200
        [event] = await bot.settled()
        await asyncio.sleep(0.2)
        [answer] = await bot.answers()
    shown = double.texts(CHAT)
    assert [text for text in shown if text != texts.LOOKING] == [answer.text]
    assert shown.count(texts.LOOKING) == (step == ORPHANED)
    assert event.state == "done"
    assert len(before) <= 1
