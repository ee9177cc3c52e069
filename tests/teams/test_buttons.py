"""What can be done with an answer: sources, a person, again, a thumb with its reason; and the settings' card."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from assistant.database.channels import ChannelSettings
from assistant.database.tables import Vote
from assistant.strings import say
from bot.teams.cards import MAX_CARD
from tests.teams.double import TENANT, TeamsDouble
from tests.teams.parts import AAD, CHAT, QUESTION, Bot, buttons, group, mention, message, press, thumb
from tests.teams.rules import check_card

CHANNEL = "19:engineering@thread.tacv2"
THREAD = f"{CHANNEL};messageid=1700000000000"
ANA = {"id": "29:ana", "name": "Ana Lima", "aadObjectId": "aad-ana"}


async def answered(bot: Bot, double: TeamsDouble, conversation: str = CHAT) -> dict[str, dict[str, Any]]:
    """The buttons of an answer, with what each sends."""
    await bot.deliver(message(double) if conversation == CHAT else mention(double, QUESTION, conversation))
    await bot.settled()
    return {verb: found["data"] for verb, found in buttons(*double.cards(conversation)).items()}


async def invoke(bot: Bot, activity: dict[str, Any]) -> dict[str, Any]:
    status, body = await bot.deliver(activity)
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    if answer.get("type") == "application/vnd.microsoft.card.adaptive":
        check_card(answer["value"])
    return answer


async def test_sources_come_in_place_of_the_buttons(bot: Bot, double: TeamsDouble) -> None:
    found = await answered(bot, double)
    answer = await invoke(bot, press(double, "sources", **found["sources"]))
    assert answer["statusCode"] == 200
    shown = json.dumps(answer["value"])
    assert "[Ledger runbook](https://wiki.example.com/ledger?a=%281%29)" in shown
    assert "read today" in shown
    assert "may be rolled back by the on-call engineer" in shown
    assert set(buttons({"attachments": [{"content": answer["value"]}]})) == {"person", "regenerate"}


async def test_regenerate_answers_again_in_the_same_message_however_often_it_is_pressed(
    bot: Bot, double: TeamsDouble
) -> None:
    found = await answered(bot, double)
    bot.services.model.text = "Another wording: {first} [1]"  # type: ignore[attr-defined]
    for _ in range(3):
        answer = await invoke(bot, press(double, "regenerate", **found["regenerate"]))
        assert answer["value"] == say("teams.again")
    await bot.settled(2)
    [shown] = double.messages(CHAT)
    first, second = await bot.answers()
    assert shown["text"].startswith("Another wording")
    assert first.withdrawn_at is not None
    assert buttons(*double.cards(CHAT))["regenerate"]["data"]["answer"] == str(second.id)
    assert len(await bot.events()) == 2


async def test_a_person_is_asked_by_a_mention(bot: Bot, double: TeamsDouble) -> None:
    double.members["ana@example.com"] = ANA
    settings = ChannelSettings(expert="ana@example.com")
    await bot.services.channels.change("teams", CHANNEL, settings, "somebody")
    found = await answered(bot, double, THREAD)
    await invoke(bot, press(double, "person", THREAD, **found["person"]))
    await invoke(bot, press(double, "person", THREAD, **found["person"]))
    await bot.settled(2)
    asked = double.messages(THREAD)[-1]
    assert asked["text"] == f"<at>Ana Lima</at>, can you help Mia? The question was: *{QUESTION}*"
    mentioned = {"id": "29:ana", "name": "Ana Lima"}
    assert asked["entities"] == [{"type": "mention", "text": "<at>Ana Lima</at>", "mentioned": mentioned}]
    assert double.violations == []


async def test_a_person_who_is_not_there_is_named_with_a_link(bot: Bot, double: TeamsDouble) -> None:
    await bot.services.channels.change("teams", CHANNEL, ChannelSettings(expert="bo@example.com"), "somebody")
    found = await answered(bot, double, THREAD)
    await invoke(bot, press(double, "person", THREAD, **found["person"]))
    await bot.settled(2)
    _, asked = double.texts(THREAD)
    assert "[bo@example.com](https://teams.microsoft.com/l/chat/0/0?users=bo%40example.com" in asked
    assert "is not in this conversation" in asked


async def test_without_anybody_to_ask_it_says_so(bot: Bot, double: TeamsDouble) -> None:
    await bot.services.channels.change("teams", CHANNEL, ChannelSettings(), "somebody")
    found = await answered(bot, double, THREAD)
    await invoke(bot, press(double, "person", THREAD, **found["person"]))
    await bot.settled(2)
    assert double.texts(THREAD)[1] == say("teams.no_person")


@pytest.mark.parametrize("verb", ["sources", "regenerate", "person", "share"])
@pytest.mark.parametrize("answer_id", ["7f43f2f8-aeb6-43b4-b01c-e30de58832da", "no-id", ""])
async def test_a_button_of_an_answer_that_is_gone_says_so(
    bot: Bot, double: TeamsDouble, verb: str, answer_id: str
) -> None:
    answer = await invoke(bot, press(double, verb, answer=answer_id))
    if verb == "person":
        await bot.settled()
        assert double.texts(CHAT) == [say("teams.gone")]
    else:
        assert answer["value"] in {say("teams.gone"), say("teams.expired")}


async def test_an_unknown_button_says_that_it_does_nothing(bot: Bot, double: TeamsDouble) -> None:
    assert (await invoke(bot, press(double, "dance")))["value"] == say("teams.expired")
    nobody = press(double, "dance")
    nobody["value"] = {"action": {"verb": "x"}}
    assert (await invoke(bot, nobody))["value"] == say("teams.expired")


async def test_a_submit_that_comes_as_a_message_does_the_same(bot: Bot, double: TeamsDouble) -> None:
    found = await answered(bot, double)
    pressed = message(double, "", value=found["regenerate"])
    assert (await bot.deliver(pressed))[0] == 200
    await bot.settled(2)
    assert len(await bot.answers()) == 2
    assert len(double.messages(CHAT)) == 1


def fetch(double: TeamsDouble, reaction: str, reply_to: str) -> dict[str, Any]:
    value = {"actionName": "feedback", "actionValue": {"reaction": reaction}}
    return message(double, "", type="invoke", name="message/fetchTask", value=value, replyToId=reply_to, locale="de-DE")


async def votes(bot: Bot) -> list[Vote]:
    async with bot.services.sessions() as session:
        return list((await session.execute(select(Vote))).scalars())


async def test_a_thumb_up_counts_at_once_and_is_confirmed(bot: Bot, double: TeamsDouble) -> None:
    await answered(bot, double)
    shown = next(iter(double.visible[CHAT]))
    answer = await invoke(bot, fetch(double, "like", shown))
    assert answer == {"task": {"type": "message", "value": say("teams.vote_up", "de")}}
    [vote] = await votes(bot)
    assert (vote.value, vote.reason) == (1, None)


async def test_a_thumb_down_counts_at_once_and_its_reason_comes_after(bot: Bot, double: TeamsDouble) -> None:
    await answered(bot, double)
    shown = next(iter(double.visible[CHAT]))
    answer = await invoke(bot, fetch(double, "dislike", shown))
    dialog = answer["task"]["value"]
    assert answer["task"]["type"] == "continue"
    assert dialog["title"] == say("teams.vote_down_title", "de")
    check_card(dialog["card"]["content"])
    assert [vote.value for vote in await votes(bot)] == [-1]
    said = {"choice": say("teams.vote_outdated", "de"), "feedbackText": "since March"}
    assert await bot.deliver(thumb(double, "dislike", json.dumps(said), replyToId=shown)) == (200, "{}")
    [vote] = await votes(bot)
    assert (vote.value, vote.reason, vote.person) == (-1, "Es ist veraltet: since March", f"teams:{TENANT}:{AAD}")


async def test_a_dialog_that_sends_its_fields_as_they_are_is_understood(bot: Bot, double: TeamsDouble) -> None:
    await answered(bot, double)
    shown = next(iter(double.visible[CHAT]))
    given = thumb(double, "dislike", "", replyToId=shown)
    given["value"]["actionValue"]["feedback"] = {"feedbackText": "no"}
    assert await bot.deliver(given) == (200, "{}")
    assert [vote.reason for vote in await votes(bot)] == ["no"]


async def test_a_thumb_on_something_else_says_that_it_is_none(bot: Bot, double: TeamsDouble) -> None:
    answer = await invoke(bot, fetch(double, "like", "another-message"))
    assert answer["task"]["value"] == say("teams.vote_none", "de")
    assert await votes(bot) == []


async def test_settings_are_chosen_in_a_card_and_hold_at_once(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(mention(double, "settings", THREAD))
    await bot.settled()
    assert double.violations == []
    data = buttons(*double.cards(THREAD))["settings"]["data"]
    chosen = {
        "answer": "sure",
        "language": "de",
        "show_sources": "false",
        "expert": "ana@example.com",
        "persona": "kurz",
    }
    answer = await invoke(bot, press(double, "settings", THREAD, **data, **chosen, sources="999"))
    assert say("teams.settings_saved", "de") in json.dumps(answer, ensure_ascii=False)
    kept = await bot.services.channels.of("teams", CHANNEL)
    assert kept == ChannelSettings("sure", (), False, "kurz", "de", "ana@example.com")
    # unasked, it answers what it is sure of, and nothing else
    await bot.deliver(group(double, QUESTION, THREAD))
    await bot.deliver(group(double, "Has anybody seen my green umbrella today?", THREAD))
    await bot.deliver(group(double, "Thanks a lot.", THREAD))
    await bot.settled(3)
    [shown] = double.messages(THREAD)
    assert "on-call engineer" in shown["text"]
    await bot.services.channels.change("teams", CHANNEL, ChannelSettings(), "somebody")


async def test_settings_of_a_channel_are_for_its_members(bot: Bot, double: TeamsDouble) -> None:
    forged = press(double, "settings", CHAT, channel=CHANNEL, persona="rude")
    assert (await invoke(bot, forged))["value"] == say("teams.expired")
    assert (await bot.services.channels.of("teams", CHANNEL)).persona == ""


async def test_a_follow_up_in_a_thread_of_ours_needs_no_mention(bot: Bot, double: TeamsDouble) -> None:
    await bot.services.channels.change("teams", CHANNEL, ChannelSettings(), "somebody")
    await bot.deliver(group(double, "When is lunch served in the canteen?", THREAD))
    assert await bot.events() == []
    await answered(bot, double, THREAD)
    await bot.deliver(group(double, "When is lunch served in the canteen?", THREAD))
    await bot.deliver(group(double, "I see, thank you.", THREAD))
    await bot.settled(2)
    assert len(await bot.events()) == 2
    assert "noon until two" in double.texts(THREAD)[1]


def test_cards_stay_within_their_size() -> None:
    from assistant.answering.messages import Citation
    from bot.teams import cards
    from bot.teams.markdown import Table

    many = [
        Citation(n, "語" * 200, f"https://x/{n}", n, "語" * 900, n, f"{n}.md", ("章" * 300,), owner="所" * 200)
        for n in range(1, 41)
    ]  # fmt: skip
    made = [cards.sources_card(many, "en", cards.answer_buttons(uuid.uuid4(), "k" * 200, "en", sources=False))]
    rows = tuple(tuple("語" * 300 for _ in range(6)) for _ in range(80))
    made += cards.table_cards([Table(tuple("abcdef"), rows)], "en")
    assert len(made) > 10
    for card in made:
        check_card(card)
        assert cards.size(card) <= MAX_CARD
    assert "And " in json.dumps(made[0])
