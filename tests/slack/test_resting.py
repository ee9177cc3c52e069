"""What waits for a worker, for hours perhaps, keeps nobody's question waiting."""

from __future__ import annotations

import pytest

from assistant.database.session import Sessions
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, TEAM, SlackDouble, send_event, send_form, shown
from tests.slack.test_files import REPORT, finish_runs, shares
from tests.slack.world import QUESTION, settled


async def test_questions_are_answered_while_no_worker_reads_what_was_added(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is away: as many events as the bot works on at once wait for it, and a command for its run."""
    monkeypatch.setattr("bot.inbox.IN_FLIGHT", 3)
    monkeypatch.setattr("assistant.commands.following.POLL_SECONDS", 0.05)
    monkeypatch.setattr("bot.slack.files.UPDATE_SECONDS", 0.05)
    async with start_bot(admins=(f"slack:{TEAM}:{ANNA}",)) as bot:
        for number in range(4):
            await send_event(bot.url, shares(slack, "add this please", slack.share(f"{number}.md", REPORT)))
        await send_form(bot.url, slack.types("ingest https://docs.example.com/page"))
        await slack.until(4)
        await send_event(bot.url, slack.mention(QUESTION, BEN))
        await slack.wait(lambda: any("deployctl" in shown(message) for message in slack.visible))
        await finish_runs(sessions, 5)
        await settled(sessions)


async def test_no_more_is_held_than_a_process_can_carry(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox.IN_FLIGHT", 2)
    monkeypatch.setattr("bot.inbox.MOST_HELD", 3)
    monkeypatch.setattr("assistant.commands.following.POLL_SECONDS", 0.05)
    monkeypatch.setattr("bot.slack.files.UPDATE_SECONDS", 0.05)
    async with start_bot() as bot:
        for number in range(6):
            await send_event(bot.url, shares(slack, "add this please", slack.share(f"{number}.md", REPORT)))
        await slack.until(3)
        assert len(bot.place.inbox._tasks) == 3
        await finish_runs(sessions, 3)
        await slack.until(6)
        await finish_runs(sessions, 3)
        await settled(sessions)
    assert len(slack.visible) == 6
