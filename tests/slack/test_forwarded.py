"""Messages whose words stand elsewhere than in their text: forwarded ones, and what other apps post as blocks."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.database.session import Sessions
from assistant.strings import say
from tests.slack.conftest import StartBot
from tests.slack.double import BEN, BOT, CHANNEL, SlackDouble, envelope, send_click, send_event, shown
from tests.slack.world import QUESTION, FakeModel, settled

FORWARDED = {
    "is_share": True,
    "author_name": "Ben",
    "text": QUESTION,
    "fallback": "[today] Ben: …",
    "mrkdwn_in": ["text"],
}
ALERT = "Deploy of payments failed & waits"
BLOCKS: list[dict[str, Any]] = [
    {"type": "header", "text": {"type": "plain_text", "text": ALERT}},
    {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Service*\npayments"}]},
    {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "text", "text": "How do I "}, {"type": "text", "text": "roll back", "style": {"bold": True}},
        {"type": "text", "text": " a deploy?"}]}]},
]  # fmt: skip
READ = f"{ALERT}\n*Service*\npayments\nHow do I roll back a deploy?"


@pytest.mark.parametrize(
    ("comment", "asked"), [("", QUESTION), ("Is this still so?", f"Is this still so?\n\n{QUESTION}")]
)
async def test_a_forwarded_message_is_part_of_the_question(
    slack: SlackDouble, start_bot: StartBot, comment: str, asked: str
) -> None:
    model = FakeModel()
    async with start_bot(model) as bot:
        await send_event(bot.url, slack.direct(comment, attachments=[FORWARDED]))
        await slack.until(1)
        await send_event(bot.url, slack.mention(comment, attachments=[FORWARDED]))
        await slack.until(2)
    assert model.asked == [asked, asked]


async def test_a_link_that_unfolded_is_no_part_of_it(slack: SlackDouble, start_bot: StartBot) -> None:
    model = FakeModel()
    unfolded = {
        "is_msg_unfurl": True,
        "text": "Something else.",
        "from_url": "https://example.slack.com/archives/C1/p1",
    }
    async with start_bot(model) as bot:
        await send_event(
            bot.url, slack.direct(QUESTION, attachments=[unfolded, None, {"is_share": True, "text": None}])
        )
        await slack.until(1)
    assert model.asked == [QUESTION]


@pytest.mark.parametrize(
    ("alert", "read"),
    [
        ({"blocks": BLOCKS}, READ),
        ({"attachments": [{"color": "#f00", "blocks": BLOCKS, "fallback": "no preview"}]}, READ),
        ({"attachments": [{"title": ALERT, "text": "Since 10:04", "fields": [{"title": "Service", "value": "it"}]}]},
         f"{ALERT}\nSince 10:04\nService\nit"),
        ({"attachments": [{"fallback": ALERT}]}, ALERT),
    ],
    ids=["blocks", "blocks in an attachment", "attachment", "fallback"],
)  # fmt: skip
async def test_an_alert_is_asked_about_by_a_shortcut_and_by_a_mention_below_it(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, alert: dict[str, Any], read: str
) -> None:
    model = FakeModel()
    message = slack.says("U0PAGER", "", bot_id="B0PAGER", subtype="bot_message", **alert)
    async with start_bot(model) as bot:
        await send_click(bot.url, slack.chooses("ask_about_message", message))
        await slack.until_ephemeral(1)
        await send_event(bot.url, slack.mention("", thread_ts=message["ts"]))
        await slack.until(1)
        await settled(sessions)
    assert model.asked == [read, read]


async def test_a_bare_mention_below_an_answer_of_ours_asks_nothing(slack: SlackDouble, start_bot: StartBot) -> None:
    model = FakeModel()
    ours = slack.says(BOT, "An answer.", bot_id="B0ALMANAC")
    said = slack.says(BEN, f"<@{BOT}>", thread_ts=ours["ts"])
    async with start_bot(model) as bot:
        await send_event(bot.url, envelope({**said, "type": "app_mention", "channel": CHANNEL}))
        [_, reply] = await slack.until(2)
    assert model.asked == []
    assert shown(reply) == say("slack.help", "de")  # which Ben speaks
