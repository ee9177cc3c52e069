"""Questions that are edited or deleted, in whatever order Teams tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.knowledge.embedding import TransformerEmbedder
from tests.teams.double import TeamsDouble
from tests.teams.parts import (
    CHAT,
    QUESTION,
    Bot,
    SlowModel,
    changed,
    group,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

LUNCH = "When is lunch served in the canteen?"
THREAD = "19:engineering@thread.tacv2;messageid=1700000000000"


@pytest.fixture
async def slow(double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder) -> AsyncIterator[Bot]:
    services = make_services(make_settings(double), filled, embedder, SlowModel(pause=0.06))
    async with running_bot(services, double) as bot:
        yield bot


@pytest.mark.parametrize("conversation", [CHAT, THREAD])
async def test_an_edited_question_changes_its_answer_in_place(bot: Bot, double: TeamsDouble, conversation: str) -> None:
    asked = message(double) if conversation == CHAT else mention(double, QUESTION, THREAD)
    await bot.deliver(asked)
    await bot.settled()
    before = list(double.visible[conversation])
    edit = changed(asked, LUNCH)
    await asyncio.gather(*(bot.deliver(edit) for _ in range(3)))
    await bot.settled(2)
    after = list(double.visible[conversation])
    assert after == before
    assert "noon until two" in double.texts(conversation)[0]
    first, second = await bot.answers()
    assert (first.withdrawn_at is None, second.withdrawn_at is None) == (False, True)
    assert second.question == LUNCH


async def test_an_edit_of_an_edit_is_what_counts(bot: Bot, double: TeamsDouble) -> None:
    asked = message(double, "What is for dinner?")
    for activity in (asked, changed(asked, LUNCH), changed(asked, QUESTION)):
        await bot.deliver(activity)
    await bot.settled(3)
    [shown] = double.texts(CHAT)
    assert "on-call engineer" in shown


async def test_a_question_that_is_edited_while_it_is_answered_is_answered_once(slow: Bot, double: TeamsDouble) -> None:
    asked = message(double)
    await slow.deliver(asked)
    await double.wait_for(lambda: double.texts(CHAT))
    await slow.deliver(changed(asked, LUNCH))
    events = await slow.settled(2)
    assert sorted(event.state for event in events) == ["cancelled", "done"]
    [shown] = double.texts(CHAT)
    assert "noon until two" in shown


async def test_an_edit_that_changes_no_word_is_no_question(bot: Bot, double: TeamsDouble) -> None:
    asked = message(double)
    await bot.deliver(asked)
    await bot.settled()
    await bot.deliver(changed(asked, QUESTION))
    assert len(await bot.events()) == 1


async def test_an_edit_that_comes_before_its_message_stands_for_it(bot: Bot, double: TeamsDouble) -> None:
    asked = message(double)
    await bot.deliver(changed(asked, LUNCH))
    await bot.deliver(asked)
    await bot.settled()
    await asyncio.sleep(0.2)
    [shown] = double.texts(CHAT)
    assert "noon until two" in shown
    assert len(await bot.answers()) == 1


async def test_a_mention_that_is_added_later_is_a_question(bot: Bot, double: TeamsDouble) -> None:
    said = group(double, QUESTION, THREAD)
    await bot.deliver(said)
    assert await bot.events() == []
    await bot.deliver(changed({**mention(double, QUESTION, THREAD), "id": said["id"]}, QUESTION))
    await bot.settled()
    assert "on-call engineer" in double.texts(THREAD)[0]


@pytest.mark.parametrize("conversation", [CHAT, THREAD])
async def test_a_deleted_question_takes_its_answer_along(bot: Bot, double: TeamsDouble, conversation: str) -> None:
    asked = message(double) if conversation == CHAT else mention(double, QUESTION, THREAD)
    await bot.deliver(asked)
    await bot.settled()
    gone = changed(asked, None)
    await asyncio.gather(bot.deliver(gone), bot.deliver(gone))
    await bot.settled(2)
    [answer] = await bot.answers()
    assert double.visible[conversation] == {}
    assert answer.withdrawn_at is not None


async def test_a_question_that_is_deleted_while_it_is_answered_leaves_nothing(slow: Bot, double: TeamsDouble) -> None:
    asked = mention(double, QUESTION, THREAD)
    await slow.deliver(asked)
    await double.wait_for(lambda: any(call.method == "PUT" for call in double.requests))
    await slow.deliver(changed(asked, None))
    await slow.settled(2)
    await asyncio.sleep(0.3)
    assert double.visible[THREAD] == {}


async def test_a_deletion_that_comes_before_its_message_is_the_last_word(bot: Bot, double: TeamsDouble) -> None:
    asked = message(double)
    await bot.deliver(changed(asked, None))
    await bot.deliver(asked)
    await bot.settled()
    await asyncio.sleep(0.3)
    assert double.texts(CHAT) == []
    assert await bot.answers() == []


async def test_a_message_that_is_brought_back_is_answered_again(bot: Bot, double: TeamsDouble) -> None:
    asked = message(double)
    for activity, count in ((asked, 1), (changed(asked, None), 2)):
        await bot.deliver(activity)
        await bot.settled(count)
    back = changed(asked, QUESTION)
    back["channelData"]["eventType"] = "undeleteMessage"
    await bot.deliver(back)
    await bot.settled(3)
    assert ["on-call engineer" in text for text in double.texts(CHAT)] == [True]
