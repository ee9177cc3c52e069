"""Calls that wait for approval, in Teams: the card, presses on it, and what people then see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.tools.rights import REQUESTER
from tests.teams.double import TENANT, TeamsDouble
from tests.teams.parts import (
    AAD,
    CHAT,
    Bot,
    ScriptedModel,
    WordEmbedder,
    buttons,
    changed,
    make_services,
    make_settings,
    mention,
    message,
    press,
    running_bot,
)
from tests.teams.test_buttons import invoke
from tests.tools.asking import TEXT, Asking
from tests.tools.board import Board

Json = dict[str, Any]
Start = Callable[..., AbstractAsyncContextManager[Bot]]
CHANNEL = "19:engineering@thread.tacv2"
THREAD = f"{CHANNEL};messageid=1700000000000"
BEN = {"id": "29:user-ben", "name": "Ben", "aadObjectId": "aad-of-ben"}
CARA = {"id": "29:user-cara", "name": "Cara", "aadObjectId": "aad-of-cara"}


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.approvals.EVERY_SECONDS", 0.1)


@pytest.fixture
def start(double: TeamsDouble, engine: AsyncEngine, board: Board) -> Start:
    @asynccontextmanager
    async def begin(
        arguments: Mapping[str, Any] | None = None, private: bool = False, **options: Any
    ) -> AsyncIterator[Bot]:
        configured = make_settings(double, **{"admins": (f"teams:{TENANT}:aad-of-ben",), **options})
        services = replace(make_services(configured, engine, WordEmbedder(), ScriptedModel()), toolbox=board)
        asked = {"service": "checkout"} if arguments is None else arguments
        services = replace(services, answering=Asking(services, board, asked, private))
        async with running_bot(services, double) as bot:
            yield bot

    return begin


@pytest.fixture
async def bot(start: Start) -> AsyncIterator[Bot]:
    async with start() as running:
        yield running


def cards(double: TeamsDouble, conversation: str = THREAD) -> list[Json]:
    """What the cards of approvals in a conversation show."""
    found = [activity["attachments"][0]["content"] for activity in double.cards(conversation)]
    return [card for card in found if card["body"][0]["type"] == "RichTextBlock"]


def words(card: Json) -> str:
    return json.dumps(card, ensure_ascii=False)


async def asked(bot: Bot, double: TeamsDouble, conversation: str = THREAD) -> dict[str, Json]:
    """The buttons of the card below an answer, by verb."""
    activity = message(double, "Restart checkout")
    if conversation != CHAT:
        activity = mention(double, "Restart checkout", conversation)
    await bot.deliver(activity)
    await double.wait_for(lambda: cards(double, conversation))
    await bot.settled()
    return on(cards(double, conversation)[0])


def on(card: Json) -> dict[str, Json]:
    """What each button of a card sends."""
    return {verb: found["data"] for verb, found in buttons({"attachments": [{"content": card}]}).items()}


def pressed(double: TeamsDouble, found: Mapping[str, Json], verb: str, who: Json, conversation: str = THREAD) -> Json:
    data = {name: value for name, value in found[verb].items() if name != "almanac"}
    return {**press(double, verb, conversation, **data), "from": who}


async def shows(double: TeamsDouble, said: str, conversation: str = THREAD) -> str:
    await double.wait_for(lambda: any(said in words(card) for card in cards(double, conversation)))
    return words(next(card for card in cards(double, conversation) if said in words(card)))


async def test_the_card_stands_below_the_answer_with_the_exact_call(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    found = await asked(bot, double)
    [card] = cards(double)
    assert set(found) == {"approve", "deny"}
    assert double.texts(THREAD)[0] == TEXT
    code = [line["inlines"][0]["text"] for line in card["body"][1]["items"]]
    assert code == ["POST /services/{service}/restart", 'service = "checkout"']
    assert "Mia asked for this call" in words(card)
    assert "Waiting for approval, until" in words(card)
    assert board.keys == []
    assert double.violations == []


async def test_an_approved_call_runs_once_and_the_card_says_what_came_of_it(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    found = await asked(bot, double)
    activity = pressed(double, found, "approve", BEN)
    for _ in range(3):  # the same press, delivered again
        answer = await invoke(bot, activity)
        assert "Approved by Ben" in words(answer["value"])
        assert on(answer["value"]) == {}
    done = await shows(double, ": done")
    assert "checkout restarts" in done
    assert "checkout was restarted 0 times" in done
    assert len(cards(double)) == 1
    assert board.restarts == ["checkout"]
    assert len(await bot.events()) == 2
    assert double.violations == []


async def test_two_people_and_a_double_press_at_once_run_it_once(
    start: Start, double: TeamsDouble, board: Board
) -> None:
    board.change("restart_service", approvers=("everyone",))
    board.on_call = lambda: asyncio.sleep(0.2)
    async with start() as bot:
        found = await asked(bot, double)
        presses = [pressed(double, found, "approve", who) for who in (BEN, BEN, CARA, CARA)]
        await asyncio.gather(*(bot.deliver(activity) for activity in presses))
        await shows(double, ": done")
        await bot.settled(5)
    assert board.restarts == ["checkout"]
    assert len(cards(double)) == 1


async def test_who_may_not_is_told_so_at_once_and_alone(bot: Bot, double: TeamsDouble, board: Board) -> None:
    found = await asked(bot, double)
    answer = await invoke(bot, pressed(double, found, "approve", CARA))
    assert answer["value"] == "You may not approve of “Restart a service”."
    mia = {"id": "29:user-1", "name": "Mia", "aadObjectId": AAD}
    answer = await invoke(bot, pressed(double, found, "approve", mia))
    assert "You asked for “Restart a service” yourself" in answer["value"]
    assert len(await bot.events()) == 1
    assert board.keys == []
    await invoke(bot, pressed(double, found, "approve", BEN))
    await shows(double, ": done")


async def test_whoever_asked_may_approve_where_the_tool_says_so_and_deny_anyway(
    start: Start, double: TeamsDouble, board: Board
) -> None:
    mia = {"id": "29:user-1", "name": "Mia", "aadObjectId": AAD}
    async with start() as bot:
        found = await asked(bot, double, CHAT)
        await invoke(bot, pressed(double, found, "deny", mia, CHAT))
        await shows(double, "Taken back by Mia", CHAT)
        board.change("restart_service", approvers=(REQUESTER,))
        await bot.deliver(message(double, "Restart checkout"))
        await double.wait_for(lambda: len(cards(double, CHAT)) == 2)
        await invoke(bot, pressed(double, on(cards(double, CHAT)[1]), "approve", mia, CHAT))
        await shows(double, "Approved by Mia", CHAT)
        await shows(double, ": done", CHAT)
    assert board.restarts == ["checkout"]


async def test_those_who_may_decide_get_the_card_too_and_it_follows(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    await asked(bot, double)
    [chat] = [name for name in double.visible if name not in (THREAD, CHAT) and cards(double, name)]
    await invoke(bot, pressed(double, on(cards(double, chat)[0]), "approve", BEN, chat))
    await shows(double, ": done", chat)
    await shows(double, ": done")
    assert board.restarts == ["checkout"]


async def test_time_runs_out_on_the_card(bot: Bot, double: TeamsDouble, board: Board) -> None:
    found = await asked(bot, double)
    async with bot.services.sessions.begin() as session:
        await session.execute(text("UPDATE approvals SET expires_at = now()"))
    await shows(double, "Nobody decided in time")
    answer = await invoke(bot, pressed(double, found, "approve", BEN))
    assert "Nobody decided in time" in words(answer["value"])
    assert board.keys == []


async def test_a_question_that_is_edited_or_deleted_takes_its_call_with_it(
    bot: Bot, double: TeamsDouble, board: Board
) -> None:
    activity = mention(double, "Restart checkout", THREAD)
    await bot.deliver(activity)
    await double.wait_for(lambda: cards(double))
    await bot.settled()
    first = on(cards(double)[0])
    edit = changed(activity, "Restart checkout, please")
    await bot.deliver(edit)
    await shows(double, "The question was taken back, changed")
    await double.wait_for(lambda: len(cards(double)) == 2)
    answer = await invoke(bot, pressed(double, first, "approve", BEN))
    assert "The question was taken back" in words(answer["value"])
    await bot.deliver(changed(activity, None))
    await double.wait_for(lambda: all("The question was taken back" in words(card) for card in cards(double)))
    assert board.keys == []


async def test_a_private_answers_card_is_not_in_the_channel(start: Start, double: TeamsDouble) -> None:
    async with start(private=True, admins=()) as bot:
        await bot.deliver(mention(double, "Restart checkout", THREAD))
        await double.wait_for(lambda: any(cards(double, name) for name in double.visible))
        await bot.settled()
    assert cards(double) == []
    assert TEXT not in json.dumps(double.messages(THREAD))


HOSTILE = {
    "service": "checkout\nforce = false\u202e **b** [x](https://evil.example) {{DATE(2017-02-14T06:00Z,SHORT)}} \u200b",
    "reason": "x" * 60_000,
    **{f"field{n}": "y" * 900 for n in range(40)},
}


async def test_what_stands_in_the_arguments_cannot_pose_as_the_card(
    start: Start, double: TeamsDouble, board: Board
) -> None:
    properties = {name: {} for name in HOSTILE}
    board.change("restart_service", parameters={"type": "object", "properties": properties}, title="**Hi** [x](y)")
    async with start(HOSTILE) as bot:
        await asked(bot, double)
    [card] = cards(double)
    assert double.violations == []
    code = [line["inlines"][0]["text"] for line in card["body"][1]["items"]]
    assert len(code) == 1 + len(HOSTILE)
    assert any(r'"checkout\nforce = false\u202e **b** [x]' in line for line in code)
    assert "{{" not in words(card)
    assert any("60,002 characters" in line for line in code)
    assert "TextBlock" not in {part["type"] for part in card["body"]}


async def test_a_card_that_was_changed_on_the_way_voids_the_call(bot: Bot, double: TeamsDouble, board: Board) -> None:
    found = await asked(bot, double)
    other = {"approve": {**found["approve"], "hash": "0" * 64}}
    await invoke(bot, pressed(double, other, "approve", BEN))
    await shows(double, "The arguments are not those that were proposed.")
    for number in ("", "nonsense", "00000000-0000-0000-0000-000000000000"):
        answer = await invoke(bot, pressed(double, {"approve": {"approval": number}}, "approve", BEN))
        assert "There is no approval" in answer["value"]
    assert board.keys == []


async def test_a_press_that_comes_as_a_message_does_the_same(bot: Bot, double: TeamsDouble, board: Board) -> None:
    found = await asked(bot, double)
    activity = {**mention(double, "", THREAD), "text": "", "value": found["approve"], "from": BEN}
    assert (await bot.deliver(activity))[0] == 200
    await shows(double, ": done")
    assert board.restarts == ["checkout"]
