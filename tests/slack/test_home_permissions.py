"""The Home tab counts what its reader may read now, and nothing that they may not."""

from __future__ import annotations

import json

from sqlalchemy import delete, select

from assistant.database import documents, failures, groups
from assistant.database.session import Sessions
from assistant.database.tables import Document, GroupMember, Source
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, DM, SlackDouble, envelope, send_event
from tests.slack.test_settings import ADMIN
from tests.slack.world import Bot, FakeEmbedder, Page, index

GROUP = "group:confluence:hr"
REVIEW = Page("hr/bonus.md", "Bonus review", "The bonus of the payments team is paid in March.", readers=(GROUP,))
PLAN = Page("hr/plan.md", "Hiring plan", "Three people join in May.", readers=("user:email:anna@example.com",))


async def home(slack: SlackDouble, bot: Bot, user: str) -> str:
    """What the Home tab of somebody says when they open it."""
    slack.homes.pop(user, None)
    event = {"type": "app_home_opened", "user": user, "channel": DM, "tab": "home", "event_ts": "1.1"}
    await send_event(bot.url, envelope(event))
    await slack.wait(lambda: user in slack.homes)
    return json.dumps(slack.homes[user], ensure_ascii=False)


async def restricted(sessions: Sessions) -> int:
    await index(sessions, FakeEmbedder(), REVIEW, PLAN)
    async with sessions.begin() as session:
        source_id = int((await session.execute(select(Source.id))).scalars().first() or 0)
        await groups.replace_members(session, source_id, {GROUP: ["user:email:anna@example.com"]})
        await failures.record_failure(session, source_id, "hr/secret-salaries.pdf", None, "the PDF holds no text")
    return source_id


async def test_each_sees_their_own_number_and_a_right_that_is_lost_is_lost_at_once(
    slack: SlackDouble, library: None, start_bot: StartBot, sessions: Sessions
) -> None:
    await restricted(sessions)
    async with start_bot() as bot:
        assert "*3 documents* in 1 sources" in await home(slack, bot, ANNA)
        assert "*1 Dokumente* aus 1 Quellen" in await home(slack, bot, BEN)
        async with sessions.begin() as session:  # Anna leaves the group
            await session.execute(delete(GroupMember))
        assert "*2 documents* in 1 sources" in await home(slack, bot, ANNA)
        async with sessions.begin() as session:  # her page is given to another
            plan = (await session.execute(select(Document.id).where(Document.title == "Hiring plan"))).scalar_one()
            await documents.update_access(session, plan, ["user:email:ben@example.com"], None, None)
        assert "*1 documents* in 1 sources" in await home(slack, bot, ANNA)


async def test_files_that_failed_are_told_to_administrators_alone(
    slack: SlackDouble, library: None, start_bot: StartBot, sessions: Sessions
) -> None:
    """Nobody knows who might have read them."""
    await restricted(sessions)
    async with start_bot(admins=(ADMIN,)) as bot:
        assert "1 files could not be read" in await home(slack, bot, ANNA)
        other = await home(slack, bot, BEN)
    assert "salaries" not in other
    assert "unlesbar" not in other
