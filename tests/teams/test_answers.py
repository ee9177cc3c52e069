"""A question in Teams becomes exactly one cited answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.session import create_engine
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from tests.teams.double import BOT, ROOT_MESSAGE, TENANT, Fault, TeamsDouble
from tests.teams.parts import (
    AAD,
    CHAT,
    QUESTION,
    Bot,
    HangingModel,
    ScriptedModel,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
    thumb,
)

CHANNEL = "19:engineering@thread.tacv2"
THREAD = f"{CHANNEL};messageid=1700000000000"


async def test_a_signed_question_gets_one_cited_answer(bot: Bot, double: TeamsDouble) -> None:
    activity = message(double)
    assert await bot.deliver(activity) == (200, "")
    [event] = await bot.settled()
    [answer] = await bot.answers()
    [shown] = double.messages(CHAT)
    assert (event.state, answer.outcome, answer.asker) == ("done", "answered", f"teams:{TENANT}:{AAD}")
    assert answer.audience == ["everyone", f"user:teams:{AAD}"]
    assert "rolled back by the on-call engineer" in shown["text"]
    assert "[1]" in shown["text"]
    # the stream's beginning, its end, and the buttons
    assert [(method, outcome) for method, outcome, _ in double.calls] == [("POST", "taken")] * 3
    activity_id = next(iter(double.visible[CHAT]))
    assert event.reply is not None
    assert event.reply["activity_id"] == activity_id
    assert event.reply["final"] == list(double.visible[CHAT])
    assert event.reply["answer"] == str(answer.id)
    assert double.violations == []


async def test_the_whole_message_entity_is_on_the_wire(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double))
    await bot.settled()
    [shown] = double.messages(CHAT)
    entity, streamed = shown["entities"]
    assert streamed == {"type": "streaminfo", "streamId": next(iter(double.streams)), "streamType": "final"}
    [claim] = entity.pop("citation")
    assert entity == {
        "type": ROOT_MESSAGE,
        "@type": "Message",
        "@context": "https://schema.org",
        "@id": "",
        "additionalType": ["AIGeneratedContent"],
    }
    looks = claim.pop("appearance")
    assert claim == {"@type": "Claim", "position": 1}
    assert looks.pop("abstract").startswith("A deployment of the ledger")
    assert looks == {
        "@type": "DigitalDocument",
        "name": "Ledger runbook",
        "url": "https://wiki.example.com/ledger?a=%281%29",
        "image": {"@type": "ImageObject", "name": "Text"},
        "keywords": ["read today"],
    }
    assert shown["channelData"] == {"feedbackLoop": {"type": "custom"}}
    assert shown["textFormat"] == "markdown"
    assert (shown["from"]["id"], shown["conversation"]["id"]) == (BOT, CHAT)


async def test_a_first_message_is_seen_before_the_answer(bot: Bot, double: TeamsDouble) -> None:
    activity = message(double)
    await bot.deliver(activity)
    await double.wait_for(lambda: double.calls)
    [stream] = double.streams.values()
    assert stream.informative == [say("teams.looking")]
    await bot.settled()
    assert [step.outcome for step in double.steps()] == ["taken", "taken"]


async def test_the_same_activity_four_times_at_once_is_one_answer(bot: Bot, double: TeamsDouble) -> None:
    activity = message(double)
    results = await asyncio.gather(*(bot.deliver(activity) for _ in range(4)))
    await bot.settled()
    assert await bot.deliver(activity) == (200, "")
    await asyncio.sleep(0.3)
    assert [status for status, _ in results] == [200] * 4
    assert len(double.messages(CHAT)) == len(await bot.answers()) == len(await bot.events()) == 1
    assert bot.metric("almanac_events_total", platform="teams", fate="stored") == 1
    assert bot.metric("almanac_events_total", platform="teams", fate="duplicate") == 4


async def test_what_is_not_in_the_documents_is_said_with_the_nearest_sources(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double, "xyzzy plugh frobnicate quux"))
    await bot.settled()
    [answer] = await bot.answers()
    [shown] = double.messages(CHAT)
    assert answer.outcome == "not_in_documents"
    assert "did not find this" in shown["text"]
    assert say("teams.nearest") in shown["text"]
    assert "[Ledger runbook](https://wiki.example.com/ledger?a=%281%29)" in shown["text"]
    assert "Lunch (`/srv/handbook/office life/lunch.md`)" in shown["text"]
    assert "citation" not in shown["entities"][0]


async def test_text_of_a_document_cannot_mention_or_embed(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double, "When is lunch in the canteen served?"))
    await bot.settled()
    [shown] = double.messages(CHAT)
    assert "&lt;at>Everyone" in shown["text"]
    assert "<" not in shown["text"]
    assert "![" not in shown["text"]
    assert "- [1] Lunch (`/srv/handbook/office life/lunch.md`)" in shown["text"]
    assert "url" not in shown["entities"][0]["citation"][0]["appearance"]


@pytest.mark.parametrize("kind", ["channel", "groupChat"])
async def test_a_mention_in_a_group_is_answered_in_its_thread(bot: Bot, double: TeamsDouble, kind: str) -> None:
    await bot.deliver(mention(double, QUESTION, THREAD, kind))
    await bot.settled()
    [answer] = await bot.answers()
    assert answer.question == QUESTION
    assert answer.conversation == THREAD
    assert answer.audience == [f"channel:teams:{CHANNEL}", "everyone"]
    assert "on-call engineer" in double.texts(THREAD)[0]


async def test_a_group_is_left_alone_without_a_mention_of_the_bot(bot: Bot, double: TeamsDouble) -> None:
    activity = mention(double, QUESTION, THREAD)
    activity["entities"] = [{"type": "mention", "mentioned": {"id": "29:someone"}, "text": "<at>Someone</at>"}]
    assert (await bot.deliver(activity))[0] == 200
    assert await bot.events() == []
    assert bot.metric("almanac_events_total", platform="teams", fate="ignored") == 1


async def test_a_private_document_never_reaches_a_channel(bot: Bot, double: TeamsDouble) -> None:
    text = "What is the salary band of a staff engineer?"
    await bot.deliver(message(double, text))
    await bot.deliver(mention(double, text, THREAD))
    await bot.settled(2)
    assert "reviewed in March" in double.texts(CHAT)[0]
    assert "reviewed in March" not in str(double.messages(THREAD))
    assert "Salaries" not in str(double.messages(THREAD))


async def test_other_people_stay_in_the_question_by_name(bot: Bot, double: TeamsDouble) -> None:
    activity = mention(double, "may <at>Ana</at> roll back the ledger service?", THREAD)
    activity["entities"].append({"type": "mention", "mentioned": {"id": "29:ana"}, "text": "<at>Ana</at>"})
    await bot.deliver(activity)
    await bot.settled()
    [answer] = await bot.answers()
    assert answer.question == "may Ana roll back the ledger service?"


@pytest.mark.parametrize("sender", [{"id": "28:another-bot"}, {"id": BOT}, {"id": "29:x", "role": "bot"}])
async def test_bots_are_ignored(bot: Bot, double: TeamsDouble, sender: dict[str, Any]) -> None:
    activity = {**message(double), "from": sender}
    assert (await bot.deliver(activity))[0] == 200
    assert await bot.events() == []


@pytest.mark.parametrize("text", ["", "   ", "&nbsp;\n"])
async def test_an_empty_message_gets_the_help_once(bot: Bot, double: TeamsDouble, text: str) -> None:
    activity = message(double, text)
    await asyncio.gather(bot.deliver(activity), bot.deliver(activity))
    await bot.settled()
    await bot.deliver(activity)
    suggested = double.messages(CHAT)[0]["suggestedActions"]["actions"]
    assert [action["type"] for action in suggested] == ["imBack"] * 3
    assert double.texts(CHAT) == [say("teams.help")]
    assert await bot.answers() == []


async def test_a_mention_alone_gets_the_help(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(mention(double, "", THREAD))
    await bot.settled()
    assert double.texts(THREAD) == [say("teams.help")]


async def test_the_bot_says_hello_once_and_only_for_itself(bot: Bot, double: TeamsDouble) -> None:
    arrival = message(double, "", type="conversationUpdate", membersAdded=[{"id": "29:x"}, {"id": BOT}])
    other = message(double, "", type="conversationUpdate", membersAdded=[{"id": "29:x"}])
    for activity in (arrival, other, arrival):
        assert (await bot.deliver(activity))[0] == 200
    await bot.settled()
    assert double.texts(CHAT) == [say("teams.welcome")]


@pytest.mark.parametrize(
    "kind", ["messageReaction", "installationUpdate", "typing", "messageUpdate", "messageDelete", "endOfDays"]
)
async def test_other_activities_are_taken_and_ignored(bot: Bot, double: TeamsDouble, kind: str) -> None:
    assert await bot.deliver(message(double, "", type=kind)) == (200, "")
    assert await bot.events() == []


async def test_a_hung_model_is_acknowledged_at_once_and_ends_visibly(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    services = make_services(make_settings(double, question_timeout=4), filled, embedder, HangingModel())
    async with running_bot(services, double) as bot:
        assert (await bot.deliver(message(double)))[0] == 200
        assert await bot.answers() == []
        await bot.settled()
        [answer] = await bot.answers()
        [shown] = double.messages(CHAT)
    assert answer.outcome == "failed"
    assert f"The reference is {answer.reference}" in shown["text"]
    assert "channelData" not in shown


async def test_a_long_answer_is_split_and_each_part_is_remembered(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    paragraph = "Многа букв про развёртывание. " * 30
    text = "\n\n".join([f"{paragraph} [1]"] * 90)
    services = make_services(make_settings(double), filled, embedder, ScriptedModel(text))
    async with running_bot(services, double) as bot:
        await bot.deliver(message(double))
        [event] = await bot.settled()
        [answer] = await bot.answers()
        await bot.deliver(thumb(double, "like", "", replyToId=list(double.visible[CHAT])[-1]))
        assert bot.metric("almanac_votes_total", platform="teams", value="1") == 1
    shown = double.messages(CHAT)
    assert len(shown) > 2
    assert event.reply is not None
    assert [event.reply["activity_id"], *event.reply["more"]] == list(double.visible[CHAT])
    assert "".join(double.texts(CHAT)).replace("\n", "") == answer.text.replace("\n", "")
    assert all(part["entities"][0]["citation"] for part in shown)
    assert ["channelData" in part for part in shown] == [False] * (len(shown) - 1) + [True]


async def test_a_rate_limit_in_a_long_answer_goes_on_where_it_stopped(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    text = "\n\n".join(["Eine sehr lange Antwort. " * 60 + "[1]"] * 40)
    services = make_services(make_settings(double), filled, embedder, ScriptedModel(text))
    async with running_bot(services, double) as bot:
        double.faults = [Fault("PUT", after=1, status=429, retry_after="0.5")]
        await bot.deliver(message(double))
        await bot.settled()
        [answer] = await bot.answers()
    assert "".join(double.texts(CHAT)).replace("\n", "") == answer.text.replace("\n", "")
    puts = [outcome for method, outcome, _ in double.calls if method == "PUT"]
    assert puts == ["taken", "429"] + ["taken"] * (len(double.messages(CHAT)) - 2)


async def test_an_event_that_cannot_be_stored_is_not_acknowledged(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    away = create_engine("postgresql://nobody@127.0.0.1:9/none")
    services = make_services(make_settings(double), away, embedder, ScriptedModel())
    activity = message(double)
    async with running_bot(services, double) as bot:
        assert await bot.deliver(activity) == (500, "")
        assert double.calls == []
    await away.dispose()
    services = make_services(make_settings(double), filled, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        assert (await bot.deliver(activity))[0] == 200
        await bot.settled()
    assert len(double.messages(CHAT)) == 1


async def test_what_postgres_cannot_hold_is_no_reason_to_fail(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double, f"\x00{QUESTION}\ud800"))
    [event] = await bot.settled()
    assert event.payload["text"] == f"{QUESTION}?"
    assert "on-call engineer" in double.texts(CHAT)[0]
