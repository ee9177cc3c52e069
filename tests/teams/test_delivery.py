"""What the platform does to us: rate limits, outages, lost connections, messages that are gone."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from tests.teams.double import SECRET, Fault, TeamsDouble
from tests.teams.parts import (
    CHAT,
    QUESTION,
    Bot,
    ScriptedModel,
    make_services,
    make_settings,
    mention,
    message,
    running_bot,
)

CITED = "on-call engineer"
GROUP = "19:group@thread.v2"  # where answers come by edits


def answers_shown(double: TeamsDouble, conversation: str = CHAT) -> list[str]:
    return [text for text in double.texts(conversation) if text != say("teams.looking")]


def asked(double: TeamsDouble, conversation: str) -> dict[str, Any]:
    return message(double) if conversation == CHAT else mention(double, QUESTION, GROUP, "groupChat")


@pytest.mark.parametrize(("method", "conversation"), [("POST", CHAT), ("PUT", GROUP)])
async def test_a_rate_limit_is_waited_out(bot: Bot, double: TeamsDouble, method: str, conversation: str) -> None:
    double.faults = [Fault(method, status=429, retry_after="1.8")]
    await bot.deliver(asked(double, conversation))
    await bot.settled()
    assert len(double.messages(conversation)) == 1
    assert CITED in answers_shown(double, conversation)[0]
    tried = [moment for called, _, moment in double.calls if called == method]
    assert tried[1] - tried[0] >= 1.8  # a failed attempt would come again after one second


@pytest.mark.parametrize("status", [412, 502, 504])
async def test_an_outage_is_waited_out(bot: Bot, double: TeamsDouble, status: int) -> None:
    double.faults = [Fault("PUT", status=status)]
    await bot.deliver(asked(double, GROUP))
    await bot.settled()
    assert [CITED in text for text in double.texts(GROUP)] == [True]
    assert len(await bot.answers()) == 1


async def test_an_update_whose_answer_was_lost_is_repeated_without_harm(bot: Bot, double: TeamsDouble) -> None:
    double.faults = [Fault("PUT", drop=True)]
    await bot.deliver(asked(double, GROUP))
    await bot.settled()
    calls = [(method, outcome) for method, outcome, _ in double.calls]
    assert calls[:4] == [("POST", "taken"), ("POST", "taken"), ("PUT", "dropped"), ("PUT", "taken")]
    assert [call for call in calls[4:] if call != ("PUT", "taken")] == [("POST", "taken")]  # the buttons, at last
    assert [CITED in text for text in double.texts(GROUP)] == [True]


async def test_a_first_message_of_unknown_outcome_may_be_orphaned_but_the_answer_is_one(
    bot: Bot, double: TeamsDouble
) -> None:
    double.faults = [Fault("POST", after=1, drop=True)]
    await bot.deliver(asked(double, GROUP))
    await bot.settled()
    assert double.texts(GROUP)[0] == say("teams.looking")
    assert [CITED in text for text in answers_shown(double, GROUP)] == [True]


async def test_a_stream_of_unknown_beginning_is_never_seen(bot: Bot, double: TeamsDouble) -> None:
    double.faults = [Fault("POST", drop=True)]
    await bot.deliver(message(double))
    await bot.settled()
    assert [CITED in text for text in double.texts(CHAT)] == [True]


@pytest.mark.parametrize("status", [404, 405])
async def test_an_update_that_is_refused_becomes_one_new_message(bot: Bot, double: TeamsDouble, status: int) -> None:
    double.faults = [Fault("PUT", status=status)]
    await bot.deliver(asked(double, GROUP))
    [event] = await bot.settled()
    assert [CITED in text for text in answers_shown(double, GROUP)] == [True]
    assert event.reply is not None
    assert event.reply["final"] == [event.reply["activity_id"], *event.reply["more"]]
    assert event.reply["final"] == list(double.visible[GROUP])[-2:]  # the answer and its buttons


async def test_a_first_message_that_somebody_deleted_is_no_obstacle(bot: Bot, double: TeamsDouble) -> None:
    double.faults = [Fault("PUT", status=429, retry_after="1")]
    await bot.deliver(asked(double, GROUP))
    await double.wait_for(lambda: any(outcome == "429" for _, outcome, _ in double.calls))
    double.visible[GROUP].clear()
    await bot.settled()
    assert [CITED in text for text in double.texts(GROUP)] == [True]


async def test_a_conversation_that_is_closed_to_us_is_given_up_not_hammered(bot: Bot, double: TeamsDouble) -> None:
    double.faults = [Fault("POST", status=403) for _ in range(20)]
    await bot.deliver(message(double))
    async with asyncio.timeout(60):
        while (event := (await bot.events())[0]).attempts < 2 or not event.error:
            await asyncio.sleep(0.05)
    begun = time.monotonic()
    await asyncio.sleep(0.8)
    [event] = await bot.events()
    assert event.attempts <= 3 + (time.monotonic() - begun) // 1
    assert "403" in (event.error or "")


async def test_the_token_is_fetched_once_and_replaced_when_refused(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(message(double))
    await bot.deliver(message(double))
    await bot.settled(2)
    assert double.token_calls == 1
    double.revoke_tokens()
    await bot.deliver(message(double))
    await bot.settled(3)
    assert double.token_calls == 2
    assert len(answers_shown(double)) == 3


async def test_a_login_service_that_is_away_is_waited_for(bot: Bot, double: TeamsDouble) -> None:
    double.login_online = False
    await bot.deliver(message(double))
    await asyncio.sleep(0.5)
    assert double.calls == []
    double.login_online = True
    await bot.settled()
    assert [CITED in text for text in double.texts(CHAT)] == [True]


async def test_a_wrong_secret_is_reported_without_being_told(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(double, teams_app_password=f"{SECRET}-wrong")
    with caplog.at_level(logging.DEBUG):
        async with running_bot(make_services(settings, filled, embedder, ScriptedModel()), double) as bot:
            await bot.deliver(message(double))
            await double_called(double)
            await asyncio.sleep(0.3)
            [event] = await bot.events()
    assert event.state == "working"
    assert "no access token" in (event.error or "")
    assert f"{SECRET}-wrong" not in caplog.text + (event.error or "")


async def double_called(double: TeamsDouble) -> None:
    async with asyncio.timeout(60):
        while not double.token_calls:
            await asyncio.sleep(0.02)


async def test_a_slow_platform_does_not_hold_up_the_acknowledgement(bot: Bot, double: TeamsDouble) -> None:
    double.gate.clear()
    for _ in range(6):
        assert (await bot.deliver(message(double)))[0] == 200
    assert double.calls == []
    double.gate.set()
    await bot.settled(6)
    assert len(answers_shown(double)) == 6


async def test_a_shutdown_waits_for_what_is_being_sent(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    double.latency = 0.3
    services = make_services(make_settings(double), filled, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        await bot.deliver(message(double))
        await asyncio.sleep(0.1)
    assert [CITED in text for text in double.texts(CHAT)] == [True]
