"""Buttons below an answer, and what they open."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete, select, update

from assistant.database.channels import ChannelSettings
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Chunk, Document, Vote
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, CHANNEL, TEAM, SlackDouble, send_click, send_event, send_form, shown
from tests.slack.limits import refused_view
from tests.slack.world import ANSWER, QUESTION, Bot, FakeModel, settled

Json = dict[str, object]


@pytest.fixture
async def answered(slack: SlackDouble, bot: Bot, sessions: Sessions) -> Json:
    """The bot's message with an answer."""
    await send_event(bot.url, slack.mention(QUESTION))
    [message] = await slack.until(1)
    await settled(sessions)
    return message


def texts(view: Json) -> str:
    return json.dumps(view["blocks"], ensure_ascii=False)


async def test_show_sources_opens_the_passages_as_they_are_now(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json
) -> None:
    await send_click(bot.url, slack.press(answered, "answer_sources", BEN))
    await slack.wait(lambda: slack.views)
    [view] = slack.views
    assert refused_view(view) is None
    assert "Payments runbook › Roll back" in texts(view)
    assert "&gt;" not in texts(view)
    assert ">To roll back a deploy" in texts(view)
    async with sessions.begin() as session:
        await session.execute(update(Document).values(readers=["user:slack:T0TEAM:U0NOBODY"]))
        await session.execute(update(Chunk).values(readers=["user:slack:T0TEAM:U0NOBODY"]))
    await send_click(bot.url, slack.press(answered, "answer_sources", BEN))
    await slack.wait(lambda: len(slack.views) == 2)
    assert "Payments runbook" not in texts(slack.views[1])
    assert "were removed since, or you may not read them" in texts(slack.views[1])


async def test_try_again_replaces_the_answer_in_place_once(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    model = FakeModel()
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        [message] = await slack.until(1)
        await settled(sessions)
        before = json.dumps(message["blocks"])
        model.text = "Try `deployctl rollback payments` [1]."
        press = slack.press(message, "answer_regenerate", BEN)
        for _ in range(3):
            assert await send_click(bot.url, press) == 200
        await settled(sessions)
    [message] = slack.visible
    assert shown(message) == "Try `deployctl rollback payments` [1]."
    ids = {block["block_id"] for block in message["blocks"] if "block_id" in block}
    assert not any(block_id in before for block_id in ids)
    assert model.asked == [QUESTION, QUESTION]
    async with sessions() as session:
        rows = list((await session.execute(select(Answer).order_by(Answer.created_at))).scalars())
    assert [row.withdrawn_at is None for row in rows] == [False, True]


async def test_outsiders_stay_outsiders_when_an_answer_is_tried_again(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot() as bot:
        await send_event(bot.url, {**slack.mention(QUESTION), "is_ext_shared_channel": True})
        [message] = await slack.until(1)
        await settled(sessions)
        await send_click(bot.url, slack.press(message, "answer_regenerate"))
        await settled(sessions)
    async with sessions() as session:
        audiences = (await session.execute(select(Answer.audience))).scalars().all()
    assert len(audiences) == 2
    assert all("everyone" not in audience for audience in audiences)
    assert "Payments runbook" not in json.dumps(slack.visible)


@pytest.mark.parametrize(
    ("expert", "tag"),
    [("U0EXPERT", "<@U0EXPERT>"), ("S0ONCALL", "<!subteam^S0ONCALL>"), ("", "payments team")],
    ids=["person", "group", "owner"],
)
async def test_ask_a_person_calls_whom_the_channel_names_else_the_owner_once(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json, expert: str, tag: str
) -> None:
    chosen = ChannelSettings(expert=expert)
    await bot.services.channels.change("slack", f"{TEAM}:{CHANNEL}", chosen, "slack:T:U")
    press = slack.press(answered, "answer_person", BEN)
    await send_click(bot.url, press)
    await slack.until(2)
    await send_click(bot.url, press)
    [again] = await slack.until_ephemeral(1)
    await settled(sessions)
    _, call = slack.visible
    text = call["blocks"][0]["text"]["text"]
    assert text.startswith(f"{tag}, ")
    assert "Ben would like a person" in text
    assert QUESTION in text
    assert call["thread_ts"] == answered["thread_ts"]
    assert tag in call["text"]
    assert "asked already" in again["text"]


@pytest.mark.parametrize("known", [True, False])
async def test_an_owner_named_by_address_is_tagged_where_slack_knows_the_address(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json, known: bool
) -> None:
    owner = "ben@example.com" if known else "gone@example.com"
    async with sessions.begin() as session:
        row = (await session.execute(select(Answer))).scalar_one()
        row.citations = [{**row.citations[0], "owner": owner}]
    await send_click(bot.url, slack.press(answered, "answer_person"))
    await slack.until(2)
    text = slack.visible[1]["blocks"][0]["text"]["text"]
    assert text.startswith(f"<@{BEN}>, " if known else "gone@example.com, ")


async def test_where_nobody_is_named_the_asker_is_told(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json
) -> None:
    async with sessions.begin() as session:
        row = (await session.execute(select(Answer))).scalar_one()
        row.citations = [{**row.citations[0], "owner": None}]
    await send_click(bot.url, slack.press(answered, "answer_person"))
    [told] = await slack.until_ephemeral(1)
    assert "Nobody is named" in told["text"]
    assert len(slack.visible) == 1


async def test_a_thumb_down_is_confirmed_and_asks_why(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json
) -> None:
    await send_click(bot.url, slack.click(answered, "negative"))
    [told] = await slack.until_ephemeral(1)
    assert "not helpful" in told["text"]
    await slack.wait(lambda: slack.views)
    [view] = slack.views
    assert view["callback_id"] == "vote_reason"
    values = {"reason": {"reason": {"type": "plain_text_input", "value": "It is out of date."}}}
    status, reply = await send_form(bot.url, {"payload": json.dumps(slack.submits(view, values))})
    assert status == 200
    assert reply["response_action"] == "update"
    assert refused_view(reply["view"]) is None
    assert "your reason was noted" in texts(reply["view"])
    async with sessions() as session:
        [vote] = (await session.execute(select(Vote))).scalars()
    assert (vote.value, vote.reason) == (-1, "It is out of date.")


async def test_a_reason_for_an_answer_that_is_gone_is_said_in_the_modal(
    slack: SlackDouble, bot: Bot, sessions: Sessions, answered: Json
) -> None:
    await send_click(bot.url, slack.click(answered, "negative"))
    await slack.wait(lambda: slack.views)
    async with sessions.begin() as session:
        await session.execute(delete(Answer))
    values = {"reason": {"reason": {"type": "plain_text_input", "value": "Wrong."}}}
    status, reply = await send_form(bot.url, {"payload": json.dumps(slack.submits(slack.views[0], values))})
    assert status == 200
    assert reply["response_action"] == "errors"
    assert "no longer stored" in reply["errors"]["reason"]


async def test_a_message_is_answered_to_whoever_asks_about_it(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    message = slack.says(BEN, QUESTION)
    await send_click(bot.url, slack.chooses("ask_about_message", message))
    [reply] = await slack.until_ephemeral(1)
    await settled(sessions)
    assert "deployctl" in shown(reply)
    assert reply["thread_ts"] == message["ts"]
    assert slack.visible == []


async def test_a_question_from_anywhere_is_answered_in_direct_messages(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    await send_click(bot.url, slack.chooses("ask_anywhere"))
    await slack.wait(lambda: slack.views)
    [view] = slack.views
    empty = {"question": {"question": {"type": "plain_text_input", "value": "  "}}}
    _, reply = await send_form(bot.url, {"payload": json.dumps(slack.submits(view, empty))})
    assert reply["errors"]["question"] == "Please write a question."
    values = {"question": {"question": {"type": "plain_text_input", "value": QUESTION}}}
    payload = {"payload": json.dumps(slack.submits(view, values))}
    for _ in range(2):
        _, reply = await send_form(bot.url, payload)
        assert reply["response_action"] == "update"
    await slack.until(2)
    await settled(sessions)
    asked, answer = slack.visible
    assert QUESTION in shown(asked)
    assert answer["thread_ts"] == asked["ts"]
    assert shown(answer) == ANSWER


async def test_an_unknown_button_or_modal_is_acknowledged(slack: SlackDouble, bot: Bot, answered: Json) -> None:
    press = slack.press(answered, "answer_sources")
    press["actions"][0]["action_id"] = "from_another_version"
    assert await send_click(bot.url, press) == 200
    view = {"type": "modal", "callback_id": "of_another_version", "blocks": [], "id": "V1"}
    assert (await send_form(bot.url, {"payload": json.dumps(slack.submits(view, {}))}))[0] == 200
    assert await send_click(bot.url, {**slack.submits(view, {}), "type": "view_closed"}) == 200
    assert await send_click(bot.url, slack.chooses("of_another_version")) == 200
    assert ANNA
