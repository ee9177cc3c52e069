"""Thumbs: one row a person and answer, with what was retrieved, and a visible confirmation."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import delete, select, text

from assistant.database.session import Sessions
from assistant.database.tables import Answer, Vote
from bot.slack.votes import STORE_SECONDS
from tests.slack.double import ACK_SECONDS, ANNA, BEN, TEAM, SlackDouble, send_click, send_event
from tests.slack.world import QUESTION, Bot, unpooled


@pytest.fixture
async def answered(slack: SlackDouble, bot: Bot) -> dict[str, object]:
    """The bot's message with an answer."""
    await send_event(bot.url, slack.mention(QUESTION))
    return (await slack.until(1))[0]


async def rows(sessions: Sessions) -> list[Vote]:
    async with sessions() as session:
        return list((await session.execute(select(Vote).order_by(Vote.person))).scalars())


async def test_a_second_vote_replaces_the_first_and_both_are_confirmed(
    sessions: Sessions, slack: SlackDouble, bot: Bot, answered: dict[str, object]
) -> None:
    assert await send_click(bot.url, slack.click(answered, "positive")) == 200
    [first] = await slack.until_ephemeral(1)
    assert await send_click(bot.url, slack.click(answered, "negative")) == 200
    [_, second] = await slack.until_ephemeral(2)
    assert first["text"] == "Thanks - your vote was counted."
    assert second["text"] == "Thanks - noted as not helpful."
    for confirmation in (first, second):
        assert confirmation["response_type"] == "ephemeral"
        assert confirmation["replace_original"] is False
        assert confirmation["thread_ts"] == answered["thread_ts"]
    [vote] = await rows(sessions)
    assert vote.value == -1
    assert vote.person == f"slack:{TEAM}:{ANNA}"
    assert vote.retrieval[0]["external_id"] == "guides/rollback.md"
    assert len(slack.visible) == 1
    for value in ("1", "-1"):
        assert bot.counted("almanac_votes_total", platform="slack", value=value) == 1


async def test_each_person_has_a_vote(
    sessions: Sessions, slack: SlackDouble, bot: Bot, answered: dict[str, object]
) -> None:
    await send_click(bot.url, slack.click(answered, "positive", ANNA))
    await send_click(bot.url, slack.click(answered, "negative", BEN))
    assert [(vote.person[-5:], vote.value) for vote in await rows(sessions)] == [(ANNA[-5:], 1), (BEN[-5:], -1)]


async def test_a_vote_on_an_answer_that_is_gone_is_told_so(
    sessions: Sessions, slack: SlackDouble, bot: Bot, answered: dict[str, object]
) -> None:
    async with sessions.begin() as session:
        await session.execute(delete(Answer))
    assert await send_click(bot.url, slack.click(answered, "positive")) == 200
    [told] = await slack.until_ephemeral(1)
    assert "not counted" in told["text"]
    assert await rows(sessions) == []


async def test_a_value_that_is_no_vote_counts_nothing(
    sessions: Sessions, slack: SlackDouble, bot: Bot, answered: dict[str, object]
) -> None:
    click = slack.click(answered, "positive")
    for count, value in enumerate(("", "up", "sideways:x", "up:" + "-" * 36, f"up:{uuid.uuid4()}:more"), start=1):
        click["actions"][0]["value"] = value
        assert await send_click(bot.url, click) == 200
        told = await slack.until_ephemeral(count)
        assert "not counted" in told[-1]["text"]
    assert await rows(sessions) == []


async def test_a_vote_that_cannot_be_stored_is_told_in_time(
    database_url: str, slack: SlackDouble, bot: Bot, answered: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STORE_SECONDS < ACK_SECONDS
    monkeypatch.setattr("bot.slack.votes.STORE_SECONDS", STORE_SECONDS)
    engine = unpooled(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE votes IN ACCESS EXCLUSIVE MODE"))
        assert await send_click(bot.url, slack.click(answered, "positive")) == 200
    [told] = await slack.until_ephemeral(1)
    assert "try again" in told["text"]


async def test_a_confirmation_that_cannot_be_sent_loses_no_vote(
    sessions: Sessions, slack: SlackDouble, bot: Bot, answered: dict[str, object]
) -> None:
    click = slack.click(answered, "positive")
    click["response_url"] = "http://127.0.0.1:1/gone"
    assert await send_click(bot.url, click) == 200
    assert len(await rows(sessions)) == 1


async def test_another_button_is_acknowledged(slack: SlackDouble, bot: Bot, answered: dict[str, object]) -> None:
    click = slack.click(answered, "positive")
    click["actions"][0] |= {"type": "button", "action_id": "open_link"}
    assert await send_click(bot.url, click) == 200
    assert slack.ephemerals == []
