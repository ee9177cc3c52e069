"""Tools without a model in Slack: ``/almanac tool``, the form, and ``/almanac approvals``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from assistant.database.session import Sessions
from tests.slack.double import ANNA, BEN, CHANNEL, TEAM, Fault, SlackDouble, send_click, send_form, shown
from tests.slack.limits import refused_view
from tests.slack.test_commands import typed
from tests.slack.world import Bot, FakeEmbedder, FakeModel, running_bot, settings, settled
from tests.tools.board import Board

Json = dict[str, Any]
PROPERTIES = {
    "service": {"type": "string", "enum": ["checkout", "search"], "description": "Which service"},
    "force": {"type": "boolean"}, "wait": {"type": "integer", "default": 5},
    "day": {"type": "string", "format": "date"},
    "note": {"type": "string"}, "labels": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip


@pytest.fixture
def board() -> Board:
    board = Board()
    board.change("restart_service", parameters={"type": "object", "properties": PROPERTIES, "required": ["service"]})
    return board


@pytest.fixture
async def bot(database_url: str, slack: SlackDouble, board: Board) -> AsyncIterator[Bot]:
    configured = settings(slack.base_url, admins=(f"slack:{TEAM}:{BEN}",))
    async with running_bot(database_url, configured, FakeModel(), FakeEmbedder(), board) as running:
        yield running


def cards(slack: SlackDouble) -> list[Json]:
    return [it for it in slack.visible if "approval" in it["metadata"]["event_payload"]]


async def test_tools_are_listed_and_a_read_runs_at_once(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    [listed] = await typed(slack, bot, "tool")
    assert "| restart_service | Restart a service | yes |" in shown(listed)
    [read] = await typed(slack, bot, "tool service_status service=checkout")
    assert "Status of a service" in shown(read)
    assert "| service | checkout |" in shown(read)
    async with sessions() as session:
        row = (await session.execute(text("SELECT tool, writes, status, person FROM tool_calls"))).one()
    assert tuple(row) == ("service_status", False, 200, f"slack:{TEAM}:{ANNA}")
    assert slack.visible == []


async def test_a_write_waits_and_its_card_is_with_who_asked_and_who_decides(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    [told] = await typed(slack, bot, 'tool restart_service service=checkout note="now, please"')
    assert "waits for approval" in shown(told)
    await settled(sessions)
    assert len(cards(slack)) == 2
    assert CHANNEL not in {card["channel"] for card in cards(slack)}
    assert board.keys == []
    await send_click(bot.url, slack.press(cards(slack)[1], "approval_yes", BEN))
    await slack.wait(lambda: all(": done" in json.dumps(card["blocks"]) for card in cards(slack)))
    assert board.restarts == ["checkout"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tool nothing", "There is no tool `nothing`"),
        ("tool restart_service servis=checkout", "`servis` is no argument of Restart a service"),
        ("tool restart_service checkout", "`checkout` is no `argument=value`"),
    ],
)
async def test_what_cannot_be_called_is_said(slack: SlackDouble, bot: Bot, line: str, said: str) -> None:
    [told] = await typed(slack, bot, line)
    assert said in shown(told)


async def test_missing_arguments_are_asked_for_by_a_form_that_knows_the_schema(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    await send_form(bot.url, slack.types("tool restart_service wait=3 note=hello"))
    await slack.wait(lambda: slack.views)
    [view] = slack.views
    assert refused_view(view) is None
    fields = {block["block_id"]: block for block in view["blocks"] if block["type"] == "input"}
    kinds = {name: block["element"]["type"] for name, block in fields.items()}
    assert kinds == {
        "service": "static_select", "force": "radio_buttons", "wait": "number_input", "day": "datepicker",
        "note": "plain_text_input", "labels": "plain_text_input",
    }  # fmt: skip
    assert [name for name, block in fields.items() if not block["optional"]] == ["service"]
    assert (fields["wait"]["element"]["initial_value"], fields["note"]["element"]["initial_value"]) == ("3", "hello")
    assert fields["service"]["hint"]["text"] == "Which service"
    assert view["submit"]["text"] == "Ask for approval"
    values: Json = {
        "service": {"service": {"selected_option": {"value": "search"}}},
        "force": {"force": {"selected_option": {"value": "true"}}},
        "day": {"day": {"selected_date": "2026-05-31"}},
        "wait": {"wait": {"value": "x"}},
        "labels": {"labels": {"value": "a, b"}},
        "note": {"note": {"value": None}},
    }
    status, answer = await send_form(bot.url, {"payload": json.dumps(slack.submits({**view, "id": "V1"}, values))})
    assert (status, answer["response_action"], answer["errors"]) == (200, "errors", {"wait": "needs a whole number"})
    values["wait"]["wait"]["value"] = "7"
    for _ in range(2):  # sent again
        payload = {"payload": json.dumps(slack.submits({**view, "id": "V1"}, values))}
        status, answer = await send_form(bot.url, payload)
        assert answer["response_action"] == "update"
    await slack.wait(lambda: len(cards(slack)) == 2)
    await settled(sessions)
    async with sessions() as session:
        [arguments] = (await session.execute(text("SELECT arguments FROM approvals"))).scalars()
    assert arguments == {"service": "search", "force": True, "day": "2026-05-31", "wait": 7, "labels": ["a", "b"]}
    assert board.keys == []


async def test_where_the_form_comes_too_late_a_button_opens_it(slack: SlackDouble, bot: Bot) -> None:
    slack.faults["views.open"].append(Fault(error="expired_trigger_id"))
    [told] = await typed(slack, bot, "tool restart_service wait=3")
    assert "needs: `service`" in shown(told)
    await send_click(bot.url, slack.press(told, "tool_form_open"))
    await slack.wait(lambda: slack.views)
    assert refused_view(slack.views[0]) is None


async def test_a_command_that_comes_again_proposes_once(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    form = slack.types("tool restart_service service=checkout")
    for _ in range(3):
        await send_form(bot.url, form)
    await slack.wait(lambda: len(cards(slack)) == 2)
    await settled(sessions)
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM approvals"))).scalar_one() == 1


async def test_approvals_lists_what_waits_and_shows_one_with_buttons(
    slack: SlackDouble, bot: Bot, sessions: Sessions, board: Board
) -> None:
    [none] = await typed(slack, bot, "approvals")
    assert "No call waits for you." in shown(none)
    await typed(slack, bot, "tool restart_service service=checkout")
    [mine] = await typed(slack, bot, "approvals")
    assert "Restart a service" in shown(mine)
    [theirs] = await typed(slack, bot, "approvals", user=BEN)
    async with sessions() as session:
        number = (await session.execute(text("SELECT left(id::text, 8) FROM approvals"))).scalar_one()
    assert number in shown(theirs)
    [other] = await typed(slack, bot, f"approvals {number}", user="U0CARA")
    assert "no approval" in shown(other)
    [copy] = await typed(slack, bot, f"approvals {number}", user=BEN)
    before = len(slack.ephemerals)
    await send_click(bot.url, slack.press(copy, "approval_yes", BEN))
    await slack.until_ephemeral(before + 1)
    await settled(sessions)
    assert slack.ephemerals[-1]["replace_original"] is True
    assert "checkout restarts" in json.dumps(slack.ephemerals[-1])
    assert board.restarts == ["checkout"]
