"""Slack's tiers are kept ahead and after a refusal; a burst loses nothing; what the app may not do is said."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Answer
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, BEN, Fault, SlackDouble, deliver, send_event, shown
from tests.slack.world import ANSWER, QUESTION, Bot, FakeModel, live, settled

SCALE = 20.0  # a minute of Slack's in three seconds of ours


@pytest.fixture
def scaled(slack: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack's real tiers and our real budgets, both in the same faster time."""
    slack.tiers.scale = SCALE
    monkeypatch.setattr("bot.slack.api.MINUTE", 60.0 / SCALE)
    monkeypatch.setattr("bot.slack.api.SECOND", 1.0 / SCALE)


async def test_a_burst_of_two_hundred_questions_loses_none_and_answers_each_once(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, scaled: None
) -> None:
    async with start_bot() as bot:
        events = [slack.mention(f"{QUESTION} ({number})", (ANNA, BEN)[number % 2]) for number in range(200)]
        for start in range(0, len(events), 20):
            await asyncio.gather(*(deliver(bot.url, event) for event in events[start : start + 20]))
        await settled(sessions, 150)
    threads = [message["thread_ts"] for message in slack.visible]
    assert sorted(threads) == sorted(event["event"]["ts"] for event in events)
    assert all(shown(message) == ANSWER for message in slack.visible)
    async with sessions() as session:
        assert len((await session.execute(select(Answer.id))).all()) == 200
    posts = [name for name in slack.tiers.refused if name == "chat.postMessage"]
    assert len(posts) < 40  # the budget is kept ahead; what is refused all the same is a matter of clocks


async def test_more_answers_at_once_than_streams_may_begin_are_posted(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty streams a minute: the rest comes in one message each, and nothing waits for a stream."""
    live(monkeypatch.setattr, True)
    monkeypatch.setattr("bot.slack.api.MINUTE", 60.0)
    slack.tiers.scale = 1.0
    monkeypatch.setattr("tests.slack.tiers.SECOND", 0.01)
    monkeypatch.setattr("bot.slack.api.SECOND", 0.02)
    async with start_bot(FakeModel(f"{ANSWER} And then some more of it [1].", piece=20, gap=0.05)) as bot:
        events = [slack.mention(f"{QUESTION} ({number})") for number in range(26)]
        await asyncio.gather(*(deliver(bot.url, event) for event in events))
        await slack.wait(lambda: len(slack.visible) == 26, 60)
        ends = len(slack.called("chat.stopStream"))
        assert ends <= 20 + len(slack.tiers.refused)
    assert 1 <= len(slack.called("chat.startStream")) <= 20
    assert sorted(message["thread_ts"] for message in slack.visible) == sorted(e["event"]["ts"] for e in events)


async def test_after_a_refusal_nobody_goes_before_slack_says(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    slack.faults["chat.postMessage"].append(Fault(status=429, retry_after="0.6"))
    started = time.monotonic()
    await asyncio.gather(*(deliver(bot.url, slack.mention(QUESTION)) for _ in range(5)))
    await slack.until(5)
    await settled(sessions)
    assert time.monotonic() - started > 0.6
    assert len(slack.called("chat.postMessage")) <= 5 + 5  # those that were under way, and one more each


async def test_a_scope_that_is_missing_is_named_in_the_log_and_the_answer_comes(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    slack.missing |= {"users:read", "assistant:write", "channels:history"}
    with structlog.testing.capture_logs() as logs:
        for count in (1, 2):
            await send_event(bot.url, slack.mention(QUESTION))
            await slack.until(count)
        await settled(sessions)
    named = [entry["scope"] for entry in logs if entry["event"] == "slack.missing_scope"]
    assert named == ["users:read"]  # once, however often it is asked for
    assert shown(slack.visible[0]) == ANSWER


async def test_a_slack_that_knows_only_the_oldest_methods_gets_its_answers(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(monkeypatch.setattr, True)
    for method in ("chat.startStream", "chat.update", "users.info", "assistant.threads.setStatus",
                   "conversations.replies", "conversations.history", "chat.postEphemeral"):  # fmt: skip
        slack.unknown.add(method)
    async with start_bot(FakeModel(ANSWER, piece=10, gap=0.02)) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await send_event(bot.url, slack.direct(QUESTION))
        await slack.until(2)
        await settled(sessions)
    assert [shown(message) for message in slack.visible] == [ANSWER, ANSWER]


async def test_an_answer_that_slack_takes_in_no_form_is_said_to_be_so_with_a_reference(
    slack: SlackDouble, bot: Bot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox.MAX_ATTEMPTS", 2)
    slack.faults["chat.postMessage"].extend([Fault(error="invalid_arguments")] * 2)
    await send_event(bot.url, slack.mention(QUESTION))
    [message] = await slack.until(1)
    await settled(sessions)
    assert "could not be shown here (invalid_arguments)" in message["text"]
    assert "reference" in message["text"]
