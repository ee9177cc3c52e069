"""Readers as sources name them: somebody on Slack is known by the address of their profile, and by its groups."""

from __future__ import annotations

import json

from sqlalchemy import select

from assistant.database import groups
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Source
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, SlackDouble, send_event
from tests.slack.world import ANSWER, FakeEmbedder, FakeModel, Page, index, settled

ASKED = "When is the bonus of the payments team paid?"


class FromReview(FakeModel):
    """Answers from the review where it is given, and else says that nothing answers."""

    async def write(self, brief):  # type: ignore[no-untyped-def,override]
        number = next((n for n, hit in enumerate(brief.passages, 1) if hit.title == "Bonus review"), None)
        self.text = f"It is paid in March [{number}]." if number else "NOT_IN_DOCUMENTS"
        async for piece in super().write(brief):
            yield piece


async def restricted(sessions: Sessions) -> None:
    page = Page(
        "hr/bonus.md",
        "Bonus review",
        "The bonus of the payments team is paid in March.",
        readers=("group:confluence:hr",),
    )
    await index(sessions, FakeEmbedder(), page)
    async with sessions.begin() as session:
        source_id = (await session.execute(select(Source.id))).scalar_one()
        await groups.replace_members(session, source_id, {"group:confluence:hr": ["user:email:anna@example.com"]})


async def test_a_member_of_the_group_is_answered_and_nobody_else(
    slack: SlackDouble, library: None, start_bot: StartBot, sessions: Sessions
) -> None:
    await restricted(sessions)
    async with start_bot(FromReview()) as bot:
        await send_event(bot.url, slack.direct(ASKED))
        [answer] = await slack.until(1)
        await settled(sessions)
        assert "paid in March" in json.dumps(answer)
        await send_event(bot.url, slack.mention(ASKED, user=BEN))
        await slack.until(2)
        await settled(sessions)
    told = [message for message in slack.visible if "paid in March" in json.dumps(message)]
    assert [message["channel"] for message in told] == [answer["channel"]]
    assert "Bonus review" not in json.dumps(slack.visible[1:])
    assert ANSWER not in json.dumps(slack.visible)


async def test_in_a_channel_the_member_alone_sees_it(
    slack: SlackDouble, library: None, start_bot: StartBot, sessions: Sessions
) -> None:
    await restricted(sessions)
    async with start_bot(FromReview()) as bot:
        await send_event(bot.url, slack.mention(ASKED))
        [whisper] = await slack.until_ephemeral(1)
        await settled(sessions)
    assert whisper["user"] == ANNA
    assert "paid in March" in json.dumps(whisper)
    assert slack.visible == []


async def test_the_address_of_a_stranger_names_nobody_here(
    slack: SlackDouble, library: None, start_bot: StartBot, sessions: Sessions
) -> None:
    """Another company's Slack says who its people are, and what everyone here may read is not for them."""
    await restricted(sessions)
    slack.people[ANNA]["is_stranger"] = True
    async with start_bot(FromReview()) as bot:
        await send_event(bot.url, slack.direct(ASKED))
        await slack.until(1)
        await settled(sessions)
    async with sessions() as session:
        [row] = (await session.execute(select(Answer))).scalars()
    assert row.outcome == "not_in_documents"
    assert not any(name.startswith(("user:email:", "group:", "everyone")) for name in row.audience)
