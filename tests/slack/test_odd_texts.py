"""What JSON can hold and Postgres cannot, NUL and halves of characters: whoever sends them is answered all the same."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Answer, Inbox, Vote
from tests.slack.double import ANNA, SlackDouble, send_click, send_event, send_form
from tests.slack.world import QUESTION, Bot, settled

ODD = "who\0 \ud83d"


@pytest.mark.parametrize("name", ["notes\ud83d.md", "notes\0.md"])
async def test_a_message_with_a_file_of_an_odd_name_is_answered(
    slack: SlackDouble, bot: Bot, sessions: Sessions, name: str
) -> None:
    assert await send_event(bot.url, slack.direct(QUESTION, files=[{"id": "F0NOTES", "name": name}])) == 200
    await slack.until(1)
    await settled(sessions)
    async with sessions() as session:
        [event] = (await session.execute(select(Inbox))).scalars()
    assert event.payload["files"] == [["F0NOTES", "notes.md"]]


async def test_an_odd_question_from_anywhere_and_an_odd_name(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    slack.people[ANNA]["profile"]["display_name"] = f"Anna{ODD[3:]}"
    view = {"type": "modal", "callback_id": "ask_question", "id": "V1", "private_metadata": "{}"}
    sent = slack.submits(view, {"question": {"question": {"value": f"{QUESTION}{ODD[3:]}"}}})
    status, _ = await send_form(bot.url, {"payload": json.dumps(sent)})
    assert status == 200
    await slack.until(2)
    await settled(sessions)
    async with sessions() as session:
        [answer] = (await session.execute(select(Answer))).scalars()
    assert (answer.question.strip(), answer.asker_name.strip()) == (QUESTION, "Anna")


async def test_an_odd_reason_of_a_thumb_down(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    await send_event(bot.url, slack.mention(QUESTION))
    [answered] = await slack.until(1)
    await send_click(bot.url, slack.click(answered, "negative"))
    await slack.wait(lambda: slack.views)
    sent = slack.submits(slack.views[-1], {"reason": {"reason": {"value": f"Ask {ODD}"}}})
    assert (await send_form(bot.url, {"payload": json.dumps(sent)}))[0] == 200
    async with sessions() as session:
        [vote] = (await session.execute(select(Vote))).scalars()
    assert vote.reason == "Ask who"
