"""Tools without a model in Teams: ``tool``, the form as a card, and ``approvals``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.slack.test_tools import PROPERTIES
from tests.teams.double import TENANT, TeamsDouble
from tests.teams.parts import (
    CHAT,
    Bot,
    ScriptedModel,
    WordEmbedder,
    make_services,
    make_settings,
    message,
    press,
    running_bot,
)
from tests.teams.test_approvals import BEN, CHANNEL, cards, on, pressed, shows, words
from tests.teams.test_buttons import invoke
from tests.tools.board import Board

Json = dict[str, Any]


@pytest.fixture
def board() -> Board:
    board = Board()
    board.change("restart_service", parameters={"type": "object", "properties": PROPERTIES, "required": ["service"]})
    return board


@pytest.fixture
async def bot(double: TeamsDouble, engine: AsyncEngine, board: Board) -> AsyncIterator[Bot]:
    configured = make_settings(double, admins=(f"teams:{TENANT}:aad-of-ben",))
    services = replace(make_services(configured, engine, WordEmbedder(), ScriptedModel()), toolbox=board)
    async with running_bot(services, double) as bot:
        yield bot


async def typed(bot: Bot, double: TeamsDouble, words: str) -> None:
    before = len(await bot.events())
    await bot.deliver(message(double, words))
    await bot.settled(before + 1)


def forms(double: TeamsDouble) -> list[Json]:
    found = [activity["attachments"][0]["content"] for activity in double.cards(CHAT)]
    return [card for card in found if "Input." in words(card)]


async def test_a_read_runs_at_once(bot: Bot, double: TeamsDouble) -> None:
    await typed(bot, double, "/tool service_status service=checkout")
    assert double.texts(CHAT)[0].startswith("**Status of a service** says:")
    assert '"text": "checkout"' in json.dumps(double.cards(CHAT))
    assert double.violations == []


async def test_a_write_waits_and_its_card_is_with_who_asked_and_who_decides(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    await typed(bot, double, "/tool restart_service service=checkout")
    assert "waits for approval" in double.texts(CHAT)[-1]
    [chat] = [name for name in double.visible if name != CHAT and cards(double, name)]
    assert len(cards(double, CHAT)) == 1
    await invoke(bot, pressed(double, on(cards(double, chat)[0]), "approve", BEN, chat))
    await shows(double, ": done", CHAT)
    assert board.restarts == ["checkout"]
    assert double.violations == []


async def test_missing_arguments_are_asked_for_by_a_card_that_knows_the_schema(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    await typed(bot, double, "/tool restart_service note=hello wait=x")
    [card] = forms(double)
    fields = {part["id"]: part for part in card["body"] if part["type"].startswith("Input.")}
    assert {name.removeprefix("argument."): part["type"] for name, part in fields.items()} == {
        "service": "Input.ChoiceSet", "force": "Input.ChoiceSet", "wait": "Input.Number", "day": "Input.Date",
        "note": "Input.Text", "labels": "Input.Text",
    }  # fmt: skip
    assert [name for name, part in fields.items() if part["isRequired"]] == ["argument.service"]
    assert fields["argument.note"]["value"] == "hello"
    assert "Wait: needs a whole number." in words(card)
    data = {name: value for name, value in on(card)["tool"].items() if name != "almanac"}
    filled = {"argument.service": "search", "argument.wait": "1.5", "argument.day": "2026-05-31"}
    answer = await invoke(bot, press(double, "tool", CHAT, **data, **filled))
    assert "Wait: needs a whole number." in words(answer["value"])
    assert len(await bot.events()) == 1
    filled |= {"argument.wait": "7", "argument.labels": "a, b", "argument.force": "true"}
    activity = press(double, "tool", CHAT, **data, **filled)
    for _ in range(2):  # sent again
        answer = await invoke(bot, activity)
        assert "Sent." in words(answer["value"])
    await double.wait_for(lambda: cards(double, CHAT))
    await bot.settled(2)
    async with bot.services.sessions() as session:
        [arguments] = (await session.execute(text("SELECT arguments FROM approvals"))).scalars()
    assert arguments == {"service": "search", "force": True, "day": "2026-05-31", "wait": 7, "labels": ["a", "b"]}
    assert board.keys == []
    assert double.violations == []


async def test_approvals_lists_what_waits_and_shows_one_with_buttons(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    await typed(bot, double, "/tool restart_service service=checkout")
    await bot.deliver({**message(double, "approvals"), "from": BEN})
    await bot.settled(2)
    async with bot.services.sessions() as session:
        number = (await session.execute(text("SELECT left(id::text, 8) FROM approvals"))).scalar_one()
    assert number in json.dumps(double.cards(CHAT))
    before = len(cards(double, CHAT))
    await bot.deliver({**message(double, f"/approvals {number}"), "from": BEN})
    await bot.settled(3)
    [copy] = cards(double, CHAT)[before:]
    answer = await invoke(bot, pressed(double, on(copy), "approve", BEN, CHAT))
    assert "Approved by Ben; running" in words(answer["value"])
    await shows(double, ": done", CHAT)
    assert board.restarts == ["checkout"]
    assert CHANNEL not in double.visible
