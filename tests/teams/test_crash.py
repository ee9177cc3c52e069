"""A process that is killed between any two steps, and the one that comes after it: one answer, never two or none.

A stream that nobody knows of any more shows nothing once its time is over. In groups nothing can help between the
first message and the storing of its id (the Bot Connector has no idempotency key): what stays behind is one more
"Looking in the documents…", and still one answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.strings import say
from tests.leases import end_leases
from tests.teams.child import COMMON, EDITED, STREAMED, WHISPERED
from tests.teams.conftest import Children
from tests.teams.double import TeamsDouble
from tests.teams.parts import (
    CHAT,
    QUESTION,
    ScriptedModel,
    WordEmbedder,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

THREAD = "19:engineering@thread.tacv2;messageid=1700000000000"
SALARY = "What is the salary band of a staff engineer, which is reviewed in March?"
ORPHANED = {
    "after the first message, before its id is stored", "after the targeted message, before its id is stored",
}  # fmt: skip
NOT_ACKNOWLEDGED = {"before the event is stored", "after it is stored, before the response"}


async def crash(
    step: str, database: str, double: TeamsDouble, activity: dict[str, Any], children: Children
) -> int | None:
    """Run the bot in a process of its own until it dies at ``step``; what Teams got for the activity, if anything."""
    url = await children.start(double, database, step)
    answered = await post(url, double, activity)
    assert await children.ended() == -9
    await end_leases(database)
    return answered


async def post(url: str, double: TeamsDouble, activity: dict[str, Any]) -> int | None:
    headers = {"Authorization": f"Bearer {double.token()}"}
    try:
        async with aiohttp.ClientSession() as http, http.post(url, json=activity, headers=headers) as response:
            return response.status
    except aiohttp.ClientError:
        return None


async def survive(
    step: str, database: str, engine: AsyncEngine, double: TeamsDouble, activity: dict[str, Any], children: Children
) -> str:
    """Crash at the step, go on with a new process; the text of the one answer."""
    answered = await crash(step, database, double, activity, children)
    assert answered is None if step in NOT_ACKNOWLEDGED else answered in {200, None}
    services = make_services(make_settings(double), engine, WordEmbedder(), ScriptedModel())
    async with running_bot(services, double) as bot:
        if answered is None:
            assert (await bot.deliver(activity))[0] == 200
        [event] = await bot.settled()
        await asyncio.sleep(0.2)
        [answer] = await bot.answers()
    assert event.state == "done"
    return answer.text


@pytest.mark.parametrize("step", STREAMED)
async def test_a_crash_of_a_stream_leaves_one_answer(
    step: str, double: TeamsDouble, words: AsyncEngine, words_url: str, children: Children
) -> None:
    text = await survive(step, words_url, words, double, message(double), children)
    assert double.texts(CHAT) == [text]
    if "stream began" in step:  # a second stream was refused, for the first is open as far as Teams knows
        assert double.violations == ["403 ContentStreamNotAllowed Content stream is not allowed: one at a time"]


@pytest.mark.parametrize("step", [*COMMON, *EDITED])
async def test_a_crash_in_a_group_leaves_one_answer(
    step: str, double: TeamsDouble, words: AsyncEngine, words_url: str, children: Children
) -> None:
    text = await survive(step, words_url, words, double, mention(double, QUESTION, THREAD), children)
    shown = double.texts(THREAD)
    assert [found for found in shown if found != say("teams.looking")] == [text]
    assert shown.count(say("teams.looking")) == (step in ORPHANED)


@pytest.mark.parametrize("step", WHISPERED)
async def test_a_crash_of_a_private_answer_leaves_one(
    step: str, double: TeamsDouble, words: AsyncEngine, words_url: str, children: Children
) -> None:
    text = await survive(step, words_url, words, double, mention(double, SALARY, THREAD), children)
    shown = [found["text"] for found in double.whispers(THREAD)]
    assert [found for found in shown if found != say("teams.more")] == [f"{say('teams.private_note')}\n\n{text}"]
    assert shown.count(say("teams.more")) == (step in ORPHANED)
    assert double.texts(THREAD) == [say("teams.private", name="Mia")]
