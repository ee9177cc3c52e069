"""Events, votes and reconnections over Socket Mode."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from assistant.database.session import Sessions
from tests.slack.conftest import StartBot
from tests.slack.double import Fault, SlackDouble, send_event
from tests.slack.world import QUESTION, FakeModel, settled, unpooled


async def test_a_question_and_a_vote(sessions: Sessions, slack: SlackDouble, start_bot: StartBot) -> None:
    async with start_bot(http=False, socket=True):
        assert await slack.push(slack.direct(QUESTION)) == 1
        [message] = await slack.until(1)
        assert await slack.push(slack.click(message, "positive"), kind="interactive") == 1
        [told] = await slack.until_ephemeral(1)
    assert "counted" in told["text"]
    assert len(slack.called("apps.connections.open")) == 1


async def test_an_event_that_comes_both_ways_is_one_answer(
    sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    async with start_bot(http=True, socket=True) as bot:
        event = slack.mention(QUESTION)
        await asyncio.gather(slack.push(event), send_event(bot.url, event))
        await settled(sessions)
    assert len(slack.visible) == 1


async def test_a_model_that_hangs_delays_no_acknowledgement(slack: SlackDouble, start_bot: StartBot) -> None:
    async with start_bot(FakeModel(hangs=True), http=False, socket=True, question_timeout=4):
        assert await slack.push(slack.mention(QUESTION)) == 1
        assert slack.visible == []
        [message] = await slack.until(1)
    assert "reference" in message["text"]


async def test_an_event_that_cannot_be_stored_is_not_acknowledged(
    database_url: str, sessions: Sessions, slack: SlackDouble, start_bot: StartBot
) -> None:
    engine = unpooled(database_url, isolation_level="AUTOCOMMIT")
    async with start_bot(http=False, socket=True), engine.connect() as connection:
        await slack.sockets.connected()
        await connection.execute(text("ALTER TABLE inbox RENAME TO inbox_away"))
        pushed = asyncio.create_task(slack.push(slack.mention(QUESTION), ack_seconds=0.7))
        await asyncio.sleep(0.5)
        await connection.execute(text("ALTER TABLE inbox_away RENAME TO inbox"))
        assert await pushed == 2
        await slack.until(1)
        await settled(sessions)
    assert len(slack.visible) == 1


async def test_a_refreshed_connection_goes_on(slack: SlackDouble, start_bot: StartBot) -> None:
    async with start_bot(http=False, socket=True):
        first = await slack.sockets.connected()
        await slack.sockets.refresh()
        async with asyncio.timeout(60):
            while slack.sockets.open in ([first], []):
                await asyncio.sleep(0.02)
        await slack.push(slack.direct(QUESTION))
        await slack.until(1)
    assert len(slack.called("apps.connections.open")) == 2


async def test_a_slack_that_is_away_at_the_start_blocks_nothing_and_is_tried_again(
    slack: SlackDouble, start_bot: StartBot
) -> None:
    slack.faults["apps.connections.open"].extend([Fault(status=503, body="<html>"), Fault(error="invalid_auth")])
    async with start_bot(http=True, socket=True) as bot:
        await send_event(bot.url, slack.mention(QUESTION))
        await slack.until(1, seconds=2)
        assert slack.sockets.open == []
        await slack.sockets.connected()
        await slack.push(slack.direct(QUESTION))
        await slack.until(2)


async def test_a_connection_that_the_sdk_cannot_bring_back_is_replaced(
    slack: SlackDouble, start_bot: StartBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK tries a spent address for ever."""
    monkeypatch.setattr("bot.slack.socket_mode.PATIENCE", 1.5)
    monkeypatch.setattr("bot.slack.socket_mode.CONNECT_SECONDS", 1.0)
    slack.faults["socket"].append(Fault(status=503))
    async with start_bot(http=False, socket=True):
        first = await slack.sockets.connected()
        slack.faults["socket"].append(Fault(status=503))
        await first.close()
        while first in slack.sockets.open:
            await asyncio.sleep(0.02)
        await slack.push(slack.direct(QUESTION))
        await slack.until(1)
