"""Calls that wait for approval, in Slack: the card, the clicks, and what people then see."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from assistant.database.session import Sessions
from assistant.tools.rights import REQUESTER
from tests.slack.double import ANNA, BEN, CHANNEL, TEAM, Fault, SlackDouble, send_click, send_event
from tests.slack.limits import refused
from tests.slack.world import Bot, FakeEmbedder, FakeModel, running_bot, settings, settled
from tests.tools.asking import TEXT, Asking
from tests.tools.board import Board

Json = dict[str, Any]
Start = Callable[..., AbstractAsyncContextManager[Bot]]
ADMINS = f"slack:{TEAM}:{BEN}"


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.approvals.EVERY_SECONDS", 0.1)


@pytest.fixture
def start(database_url: str, slack: SlackDouble, board: Board) -> Start:
    @asynccontextmanager
    async def begin(
        arguments: Mapping[str, Any] | None = None, private: bool = False, **options: Any
    ) -> AsyncIterator[Bot]:
        configured = settings(slack.base_url, **{"admins": ADMINS, **options})
        asked = {"service": "checkout"} if arguments is None else arguments
        async with running_bot(
            database_url, configured, FakeModel(), FakeEmbedder(), board,
            lambda services: Asking(services, board, asked, private),
        ) as bot:  # fmt: skip
            yield bot

    return begin


@pytest.fixture
async def bot(start: Start) -> AsyncIterator[Bot]:
    async with start() as running:
        yield running


def cards(slack: SlackDouble, channel: str | None = CHANNEL) -> list[Json]:
    found = [it for it in slack.visible if "approval" in it["metadata"]["event_payload"]]
    return [it for it in found if channel is None or it["channel"] == channel]


def words(message: Json) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False)


async def card_of(slack: SlackDouble, bot: Bot, sessions: Sessions, **event: Any) -> Json:
    await send_event(bot.url, slack.mention("Restart checkout", **event))
    await slack.wait(lambda: cards(slack))
    await settled(sessions)
    return cards(slack)[0]


async def shows(slack: SlackDouble, said: str, channel: str = CHANNEL) -> Json:
    await slack.wait(lambda: cards(slack, channel) and said in words(cards(slack, channel)[0]))
    return cards(slack, channel)[0]


async def test_the_card_stands_below_the_answer_with_the_exact_call(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    card = await card_of(slack, bot, sessions)
    answer = slack.visible[0]
    assert answer["blocks"][0]["text"] == TEXT
    assert card["thread_ts"] == answer["thread_ts"]
    assert refused(card) is None
    code = card["blocks"][1]["elements"][0]["elements"][0]["text"]
    assert code == 'POST /services/{service}/restart\nservice = "checkout"'
    assert "Anna asked for this call" in words(card)
    assert "An administrator can approve." in words(card)
    assert "Waiting for approval, until" in words(card)
    buttons = card["blocks"][-1]["elements"]
    assert [button["action_id"] for button in buttons] == ["approval_yes", "approval_no"]
    assert buttons[0]["confirm"]["title"]["text"] == "Run this call?"
    assert board.keys == []


async def test_an_approved_call_runs_once_and_the_card_says_what_came_of_it(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    card = await card_of(slack, bot, sessions)
    press = slack.press(card, "approval_yes", BEN)
    for _ in range(3):  # the same click, delivered again
        assert await send_click(bot.url, press) == 200
    done = await shows(slack, ": done")
    await settled(sessions)
    assert done["ts"] == card["ts"]
    assert refused(done) is None
    assert "Approved by Ben" in words(done)
    assert "checkout restarts" in words(done)
    assert "checkout was restarted 0 times" in words(done)
    assert "approval_yes" not in words(done)
    assert board.restarts == ["checkout"]
    assert slack.ephemerals == []


async def test_two_people_and_a_double_click_at_once_run_it_once(
    slack: SlackDouble, start: Start, sessions: Sessions, board: Board
) -> None:
    board.change("restart_service", approvers=("everyone",))
    board.on_call = lambda: asyncio.sleep(0.2)
    async with start() as bot:
        card = await card_of(slack, bot, sessions)
        presses = [slack.press(card, "approval_yes", user) for user in (BEN, BEN, "U0CARA", "U0CARA")]
        await asyncio.gather(*(send_click(bot.url, press) for press in presses))
        await shows(slack, ": done")
        await settled(sessions)
    assert board.restarts == ["checkout"]
    assert len(cards(slack)) == 1


async def test_who_may_not_is_told_so_alone(slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board) -> None:
    card = await card_of(slack, bot, sessions)
    await send_click(bot.url, slack.press(card, "approval_yes", "U0CARA"))
    [told] = await slack.until_ephemeral(1)
    assert "You may not approve of “Restart a service”." in told["text"]
    await send_click(bot.url, slack.press(card, "approval_yes", ANNA))
    _, told = await slack.until_ephemeral(2)
    assert "You asked for “Restart a service” yourself" in told["text"]
    await settled(sessions)
    assert board.keys == []
    assert "approval_yes" in words(cards(slack)[0])
    await send_click(bot.url, slack.press(card, "approval_yes", BEN))
    await shows(slack, ": done")


async def test_what_was_decided_is_told_to_who_comes_late(
    slack: SlackDouble, start: Start, sessions: Sessions, board: Board
) -> None:
    board.change("restart_service", approvers=("everyone",))
    async with start() as bot:
        card = await card_of(slack, bot, sessions)
        press = slack.press(card, "approval_yes", "U0CARA")
        await send_click(bot.url, slack.press(card, "approval_no", BEN))
        denied = await shows(slack, "Denied by Ben")
        assert "approval_yes" not in words(denied)
        await send_click(bot.url, press)
        [told] = await slack.until_ephemeral(1)
    assert "nothing to decide any more. Denied by Ben" in told["text"]
    assert board.keys == []


async def test_whoever_asked_may_approve_where_the_tool_says_so(
    slack: SlackDouble, start: Start, sessions: Sessions, board: Board
) -> None:
    board.change("restart_service", approvers=(REQUESTER,))
    async with start() as bot:
        card = await card_of(slack, bot, sessions)
        assert "Whoever asked can approve." in words(card)
        await send_click(bot.url, slack.press(card, "approval_yes", BEN))  # an administrator, and not named
        await slack.until_ephemeral(1)
        await send_click(bot.url, slack.press(card, "approval_yes", ANNA))
        await shows(slack, "Approved by Anna")
    assert board.restarts == ["checkout"]


async def test_those_who_may_decide_get_the_card_too_and_it_follows(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    await card_of(slack, bot, sessions)
    [direct] = [it for it in cards(slack, None) if it["channel"] != CHANNEL]
    await send_click(bot.url, slack.press(direct, "approval_yes", BEN))
    await shows(slack, ": done")
    await shows(slack, ": done", direct["channel"])
    assert board.restarts == ["checkout"]


async def test_time_runs_out_on_the_card(slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board) -> None:
    press = slack.press(await card_of(slack, bot, sessions), "approval_yes", BEN)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE approvals SET expires_at = now()"))
    expired = await shows(slack, "Nobody decided in time")
    assert "approval_yes" not in words(expired)
    await send_click(bot.url, press)
    [told] = await slack.until_ephemeral(1)
    assert "nichts mehr zu entscheiden" in told["text"]  # Ben reads German
    assert board.keys == []


async def test_a_question_that_is_deleted_takes_its_call_with_it(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    asked = slack.mention("Restart checkout")
    await send_event(bot.url, asked)
    await slack.wait(lambda: cards(slack))
    await settled(sessions)
    press = slack.press(cards(slack)[0], "approval_yes", BEN)
    await send_event(bot.url, slack.deletes(asked))
    await shows(slack, "The question was taken back")
    await send_click(bot.url, press)
    await slack.until_ephemeral(1)
    assert board.keys == []


async def test_an_edited_question_leaves_one_call_that_can_be_approved(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    asked = slack.mention("Restart checkout")
    await send_event(bot.url, asked)
    await slack.wait(lambda: cards(slack))
    await settled(sessions)
    first = cards(slack)[0]
    await send_event(bot.url, slack.edits(asked, "Restart checkout, please"))
    await shows(slack, "The question was taken back, changed")
    await slack.wait(lambda: len(cards(slack)) == 2)
    second = cards(slack)[1]
    await send_click(bot.url, slack.press(first | {"blocks": second["blocks"]}, "approval_yes", BEN))
    await slack.wait(lambda: ": done" in words(cards(slack)[1]))
    assert board.restarts == ["checkout"]


@pytest.mark.parametrize("fault", [Fault(effect_first=True, drop=True), Fault(status=503)], ids=["sent", "not sent"])
async def test_a_card_whose_fate_is_unknown_is_not_sent_twice(
    slack: SlackDouble, bot: Bot, sessions: Sessions, fault: Fault
) -> None:
    slack.faults["chat.postMessage"].extend([Fault(), fault])  # the answer, then the card
    await send_event(bot.url, slack.mention("Restart checkout"))
    await settled(sessions, 30)
    assert len(cards(slack)) == 1
    assert [it["blocks"][0].get("text") for it in slack.visible].count(TEXT) == 1
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM approvals"))).scalar_one() == 1


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(status=429, retry_after="0"), Fault(error="invalid_blocks")]
)
async def test_an_update_that_does_not_get_through_is_tried_again_or_left(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board, fault: Fault
) -> None:
    card = await card_of(slack, bot, sessions)
    slack.faults["chat.update"].extend([fault, fault])
    await send_click(bot.url, slack.press(card, "approval_yes", BEN))
    if fault.error is None:
        await shows(slack, ": done")
    await settled(sessions)
    assert board.restarts == ["checkout"]
    await asyncio.sleep(0.5)
    calls = len(slack.called("chat.update"))
    await asyncio.sleep(0.5)
    assert len(slack.called("chat.update")) == calls  # nothing is tried for ever


async def test_a_private_answers_card_comes_in_a_direct_message(
    slack: SlackDouble, start: Start, sessions: Sessions, board: Board
) -> None:
    async with start(private=True) as bot:
        await send_event(bot.url, slack.mention("Restart checkout"))
        await slack.wait(lambda: len(cards(slack, None)) == 2)
        await settled(sessions)
    assert cards(slack) == []  # nothing of it in the channel
    assert all(TEXT not in words(message) for message in slack.visible)


HOSTILE = {
    "service": "checkout\nforce = false\u202e `x` ```<!channel> <@U0BEN> *b* \u200b",
    "reason": "x" * 20_000,
    "deep": {"a": [1, 2, {"b": "</pre>"}]},
}


async def test_what_stands_in_the_arguments_cannot_pose_as_the_card(
    slack: SlackDouble, start: Start, sessions: Sessions, board: Board
) -> None:
    properties = {name: {} for name in HOSTILE}
    board.change("restart_service", parameters={"type": "object", "properties": properties}, title="*Hi* <!here> `x`")
    async with start(HOSTILE) as bot:
        card = await card_of(slack, bot, sessions)
    assert refused(card) is None
    code = card["blocks"][1]["elements"][0]["elements"][0]["text"]
    assert len(code.split("\n")) == 4
    assert r'service = "checkout\nforce = false\u202e' in code
    assert r"\u200b" in code
    assert "20,002 characters" in code
    assert "<!here>" not in card["blocks"][0]["text"]["text"]
    assert "<!channel>" not in card["text"]


async def test_a_card_that_was_changed_on_the_way_voids_the_call(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    card = await card_of(slack, bot, sessions)
    other = slack.press(card, "approval_yes", BEN)
    press = copy.deepcopy(other)
    press["actions"][0]["value"] = press["actions"][0]["value"][:-4] + "beef"
    await send_click(bot.url, press)
    await shows(slack, "The arguments are not those that were proposed.")
    for value in ("", "nonsense", "nonsense:", f"{'0' * 8}-0000-0000-0000-{'0' * 12}:x"):
        other["actions"][0].update(value=value, action_ts=slack.ts())
        assert await send_click(bot.url, other) == 200
    await settled(sessions)
    assert board.keys == []
