"""Answers that not everybody in a group may see, and how they are shared."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select

from assistant.database.tables import Audit
from assistant.strings import say
from tests.teams.double import TENANT, Fault, TeamsDouble
from tests.teams.parts import AAD, USER, Bot, buttons, mention, message, press

THREAD = "19:engineering@thread.tacv2;messageid=1700000000000"
SALARY = "What is the salary band of a staff engineer, which is reviewed in March?"
DIRECT = f"a:chat-with-{USER}"


async def asked(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(mention(double, SALARY, THREAD))
    await bot.settled()


async def test_the_asker_alone_sees_what_the_others_may_not(bot: Bot, double: TeamsDouble) -> None:
    await asked(bot, double)
    [answer] = await bot.answers()
    [whisper] = double.whispers(THREAD)
    assert answer.private
    assert "reviewed in March" in whisper["text"]
    assert whisper["text"].startswith(say("teams.private_note"))
    assert double.texts(THREAD) == [say("teams.private", name="Mia")]
    assert "March" not in str(double.messages(THREAD))
    targeted = [call for call in double.requests if call.query == "isTargetedActivity=true"]
    assert [call.method for call in targeted] == ["POST", "PUT", "POST"]
    assert targeted[0].body["recipient"]["id"] == USER
    assert double.violations == []


async def test_without_targeted_messages_the_answer_comes_in_the_personal_chat(bot: Bot, double: TeamsDouble) -> None:
    double.targeted_allowed = False
    await asked(bot, double)
    [shown] = double.messages(DIRECT)
    assert "reviewed in March" in shown["text"]
    assert "channelData" not in shown
    assert double.texts(THREAD) == [say("teams.private_chat", name="Mia")]


async def test_a_missing_permission_says_what_is_missing(bot: Bot, double: TeamsDouble) -> None:
    double.targeted_allowed = double.chats_open = False
    await asked(bot, double)
    assert double.texts(THREAD) == [say("teams.private_refused", name="Mia")]
    assert "Missing: the app installed for you" in double.texts(THREAD)[0]


@pytest.mark.parametrize("failing", [False, True], ids=["", "tried-again"])
@pytest.mark.parametrize("targeted", [True, False])
async def test_the_asker_shares_it_with_everyone_once(
    bot: Bot, double: TeamsDouble, targeted: bool, failing: bool
) -> None:
    double.targeted_allowed = targeted
    await asked(bot, double)
    if failing:
        double.faults.append(Fault("POST", status=503))
    data = buttons(*double.cards(THREAD if targeted else DIRECT))["share"]["data"]
    place = THREAD if targeted else DIRECT
    for _ in range(2):
        status, body = await bot.deliver(press(double, "share", place, **data))
        assert status == 200
        assert say("teams.shared_done") in body
    await bot.settled(2)
    _, public = double.texts(THREAD)
    assert public.startswith(f"Mia shared this answer. It was asked: *{SALARY}*")
    assert "reviewed in March" in public
    async with bot.services.sessions() as session:
        [entry] = (await session.execute(select(Audit).where(Audit.action == "share"))).scalars()
    assert (entry.person, entry.target) == (f"teams:{TENANT}:{AAD}", THREAD)


async def test_nobody_else_can_share_it(bot: Bot, double: TeamsDouble) -> None:
    await asked(bot, double)
    data = buttons(*double.cards(THREAD))["share"]["data"]
    other = {**press(double, "share", THREAD, **data), "from": {"id": "29:eve", "name": "Eve", "aadObjectId": "eve"}}
    assert say("teams.not_yours") in (await bot.deliver(other))[1]
    assert len(double.messages(THREAD)) == 1
    made_up = press(double, "share", THREAD, answer=str(uuid.uuid4()))
    assert say("teams.gone") in (await bot.deliver(made_up))[1]


async def test_a_question_that_only_the_bot_sees_is_answered_to_its_asker_alone(bot: Bot, double: TeamsDouble) -> None:
    activity = mention(double, SALARY, THREAD)
    activity["entities"] = []
    activity["recipient"]["isTargeted"] = True
    await bot.deliver(activity)
    await bot.settled()
    [whisper] = double.whispers(THREAD)
    assert "reviewed in March" in whisper["text"]
    assert {"type": "targetedMessageInfo", "messageId": activity["id"]} in whisper["entities"]
    assert double.messages(THREAD) == []


async def test_a_vote_on_a_private_answer_counts(bot: Bot, double: TeamsDouble) -> None:
    await asked(bot, double)
    whisper_id = next(iter(double.private[THREAD]))
    place = {"id": THREAD, "conversationType": "channel", "tenantId": TENANT}
    value = {"actionName": "feedback", "actionValue": {"reaction": "like", "feedback": "{}"}}
    vote = message(
        double, "", type="invoke", name="message/submitAction", value=value, replyToId=whisper_id, conversation=place
    )
    await bot.deliver(vote)
    assert bot.metric("almanac_votes_total", platform="teams", value="1") == 1
