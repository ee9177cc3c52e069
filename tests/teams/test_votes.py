"""Thumbs under an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from assistant.database.tables import Vote
from tests.teams.double import TENANT, TeamsDouble
from tests.teams.parts import AAD, CHAT, QUESTION, Bot, mention, message, thumb

VOTER = f"teams:{TENANT}:{AAD}"


async def votes(bot: Bot) -> list[Vote]:
    async with bot.services.sessions() as session:
        return list((await session.execute(select(Vote))).scalars())


async def answered(bot: Bot, activity: dict[str, Any], count: int = 1) -> str:
    await bot.deliver(activity)
    events = await bot.settled(count)
    assert events[-1].reply is not None
    return str(events[-1].reply["activity_id"])


async def test_up_then_down_is_one_vote_with_its_snapshot(bot: Bot, double: TeamsDouble) -> None:
    shown = await answered(bot, message(double))
    said = json.dumps({"feedbackText": "wrong runbook"})
    first = await bot.deliver(thumb(double, "like", "{}", replyToId=shown))
    second = await bot.deliver(thumb(double, "dislike", said, replyToId=shown))
    assert first == second == (200, "{}")
    [vote] = await votes(bot)
    [answer] = await bot.answers()
    assert (vote.answer_id, vote.person, vote.value, vote.reason) == (answer.id, VOTER, -1, "wrong runbook")
    assert vote.retrieval == answer.retrieval != []
    assert bot.metric("almanac_votes_total", platform="teams", value="1") == 1
    assert bot.metric("almanac_votes_total", platform="teams", value="-1") == 1


async def test_plain_text_without_a_message_id_is_about_the_newest_answer(bot: Bot, double: TeamsDouble) -> None:
    await answered(bot, message(double))
    await answered(bot, message(double, "When is lunch served in the canteen?"), 2)
    assert await bot.deliver(thumb(double, "like", "very tasty")) == (200, "{}")
    [vote] = await votes(bot)
    assert (vote.answer_id, vote.reason) == ((await bot.answers())[-1].id, "very tasty")


async def test_a_vote_is_about_the_message_it_names(bot: Bot, double: TeamsDouble) -> None:
    first = await answered(bot, message(double))
    await answered(bot, message(double, "When is lunch served in the canteen?"), 2)
    await bot.deliver(thumb(double, "like", "", replyToId=first))
    [vote] = await votes(bot)
    assert vote.answer_id == (await bot.answers())[0].id


async def test_a_thread_is_found_by_its_channel_and_each_person_votes_once(bot: Bot, double: TeamsDouble) -> None:
    thread, channel = "19:c@thread.tacv2;messageid=17", "19:c@thread.tacv2"
    shown = await answered(bot, mention(double, QUESTION, thread))
    for person, conversation in (("a", thread), ("b", channel), ("a", channel)):
        place = {"id": conversation, "conversationType": "channel", "tenantId": TENANT}
        sender = {"id": f"29:{person}", "aadObjectId": person}
        await bot.deliver(thumb(double, "like", "", replyToId=shown, conversation=place, **{"from": sender}))
    assert sorted(vote.person for vote in await votes(bot)) == [f"teams:{TENANT}:a", f"teams:{TENANT}:b"]


@pytest.mark.parametrize(
    "change",
    [
        {"replyToId": "another-message"},
        {"conversation": {"id": "a:another-chat", "conversationType": "personal", "tenantId": TENANT}},
        {"value": {"actionName": "feedback", "actionValue": {"reaction": "shrug", "feedback": ""}}},
        {"value": {"actionName": "other"}},
        {"value": None},
    ],
)
async def test_a_vote_on_nothing_of_ours_has_no_effect(bot: Bot, double: TeamsDouble, change: dict[str, Any]) -> None:
    shown = await answered(bot, message(double))
    assert await bot.deliver(thumb(double, "like", "", **{"replyToId": shown, **change})) == (200, "{}")
    assert await votes(bot) == []


async def test_another_invoke_is_not_implemented(bot: Bot, double: TeamsDouble) -> None:
    assert (await bot.deliver(message(double, "", type="invoke", name="composeExtension/query")))[0] == 501


async def test_the_help_has_no_votes(bot: Bot, double: TeamsDouble) -> None:
    await answered(bot, message(double, ""))
    assert "channelData" not in double.messages(CHAT)[0]
