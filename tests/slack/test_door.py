"""What is not from Slack does not come in; what cannot be stored is not acknowledged."""

from __future__ import annotations

import json
import time

import aiohttp
import pytest
from sqlalchemy import func, select, text

from assistant.database.session import Sessions
from assistant.database.tables import Inbox
from bot.slack.handlers import STORE_SECONDS
from tests.slack.conftest import StartBot
from tests.slack.double import ACK_SECONDS, SlackDouble, send_event, send_raw, signed
from tests.slack.world import QUESTION, Bot, unpooled


async def stored(sessions: Sessions) -> int:
    async with sessions() as session:
        return (await session.execute(select(func.count()).select_from(Inbox))).scalar_one()


def forged(raw: bytes) -> dict[str, dict[str, str]]:
    now = int(time.time())
    return {
        "unsigned": {},
        "bad_signature": signed(raw, secret="another secret"),
        "old_timestamp": signed(raw, timestamp=str(now - 301)),
        "bad_timestamp": signed(raw, timestamp="yesterday"),
    }


@pytest.mark.parametrize("reason", ["unsigned", "bad_signature", "old_timestamp", "bad_timestamp"])
async def test_a_forged_request_is_refused_and_counted(
    sessions: Sessions, slack: SlackDouble, bot: Bot, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = json.dumps(slack.mention(QUESTION)).encode()
    assert await send_raw(bot.url, raw, {"Content-Type": "application/json", **forged(raw)[reason]}) == 401
    assert await stored(sessions) == 0
    assert bot.counted("almanac_refused_requests_total", platform="slack", reason=reason) == 1
    assert caplog.text == ""


async def test_odd_headers_and_bodies_raise_nothing(bot: Bot) -> None:
    now = str(int(time.time()))
    odd = [("١٢٣", "v0=00"), ("9" * 5_000, "v0=00"), ("-1", "v0=00"), ("1e9", "v0=00"), ("", "v0=00"), (now, "v0=é")]
    for timestamp, signature in odd:
        headers = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
        assert await send_raw(bot.url, b"{}", headers) == 401
    assert await send_raw(bot.url, b"\xff\xfe", signed(b"\xff\xfe")) == 401
    for raw in (b"{", b"[1]", b"payload=%7B"):
        assert await send_raw(bot.url, raw, {"Content-Type": "application/json", **signed(raw)}) == 400


async def test_the_challenge_is_answered(bot: Bot) -> None:
    raw = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}).encode()
    headers = {"Content-Type": "application/json", **signed(raw)}
    async with aiohttp.ClientSession() as http, http.post(bot.url, data=raw, headers=headers) as reply:
        assert reply.status == 200
        assert (await reply.json())["challenge"] == "3eZbrw1a"


async def test_an_event_that_cannot_be_stored_is_not_acknowledged_and_answered_when_it_comes_again(
    database_url: str, slack: SlackDouble, bot: Bot
) -> None:
    engine = unpooled(database_url, isolation_level="AUTOCOMMIT")
    event = slack.mention(QUESTION)
    async with engine.connect() as connection:
        await connection.execute(text("ALTER TABLE inbox RENAME TO inbox_away"))
        assert await send_event(bot.url, event) == 500
        await connection.execute(text("ALTER TABLE inbox_away RENAME TO inbox"))
    assert await send_event(bot.url, event, retry=1) == 200
    await slack.until(1)


async def test_a_database_that_does_not_answer_is_reported_within_the_time_slack_waits(
    database_url: str, slack: SlackDouble, bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STORE_SECONDS < ACK_SECONDS
    monkeypatch.setattr("bot.slack.handlers.STORE_SECONDS", STORE_SECONDS)
    engine = unpooled(database_url)
    event = slack.mention(QUESTION)
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE"))
        assert await send_event(bot.url, event) == 500
    assert await send_event(bot.url, event, retry=1) == 200
    await slack.until(1)


async def test_without_a_signing_secret_there_is_no_http_endpoint(start_bot: StartBot, slack: SlackDouble) -> None:
    async with start_bot(http=False, socket=True) as bot:
        assert await send_event(bot.url, slack.mention(QUESTION)) == 404
