"""An approved call runs once, for the person, the tool and the arguments that it was approved for."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text, update

from assistant.database import audit
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Inbox
from assistant.database.tables_tools import Approval as Row
from assistant.errors import NotFound
from assistant.tools.approval import Approval, Approvals, Refusal
from assistant.tools.model import BadArguments, Tool
from assistant.tools.rights import ADMINISTRATORS, REQUESTER
from tests.tools.board import ANNA, BEN, CALLER, CARA, RESTART, Board

ADMIN = frozenset({ADMINISTRATORS, "everyone"})
PLAIN = frozenset({"everyone"})


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def approvals(sessions: Sessions, board: Board) -> Approvals:
    return Approvals(sessions, board, minutes=15)


async def proposed(approvals: Approvals, tool: Tool = RESTART, **more: Any) -> Approval:
    arguments = more.pop("arguments", {"service": "checkout"})
    answer = more.pop("answer_id", uuid.uuid4())
    return await approvals.propose(
        tool, arguments, more.pop("caller", CALLER), "channel:slack:T0TEAM:C0DEV", "T0TEAM:C0DEV:1", "slack", answer,
        **more,
    )  # fmt: skip


async def approve(approvals: Approvals, approval: Approval, person: str = BEN, **more: Any) -> Approval:
    principals, seen = more.pop("principals", ADMIN), more.pop("seen", approval.arguments_hash)
    return await approvals.decide(approval.id, person, principals, more.pop("yes", True), seen, name="Ben")


async def entries(sessions: Sessions) -> list[tuple[str, str]]:
    async with sessions() as session:
        return [(entry.action, entry.person) for entry in reversed(await audit.recent(session))]


async def later(sessions: Sessions, **columns: str) -> None:
    """Move times of every approval, as if they had been written then (SQL)."""
    async with sessions.begin() as session:
        for column, value in columns.items():
            await session.execute(text(f"UPDATE approvals SET {column} = {value}"))


async def test_an_approved_call_runs_once_with_its_key_and_is_written_down(
    approvals: Approvals, board: Board, sessions: Sessions
) -> None:
    waiting = await proposed(approvals, name="Anna")
    assert (waiting.state, board.keys) == ("waiting", [])
    done = await approve(approvals, waiting)
    assert (done.state, done.decided_by, done.decided_name) == ("done", BEN, "Ben")
    assert done.result == {"status": 202, "text": "checkout restarts", "data": {"restarting": True}}
    assert done.before == {
        "status": 200,
        "text": "checkout was restarted 0 times",
        "data": {"service": "checkout"},
    }
    assert board.restarts == ["checkout"]
    assert board.keys == [str(waiting.id)]
    assert board.callers == [CALLER]
    assert await entries(sessions) == [("approval propose", ANNA), ("approval approve", BEN), ("approval done", BEN)]
    async with sessions() as session:
        [ran, *_] = await audit.recent(session)
        [call] = (await session.execute(text("SELECT approval_id, writes, status, error FROM tool_calls"))).all()
    assert ran.target == "restart_service"
    assert (ran.details["before"], ran.details["after"]) == (done.before, done.result)
    assert (ran.details["hash"], ran.details["arguments"]) == (waiting.arguments_hash, {"service": "checkout"})
    assert tuple(call) == (waiting.id, True, 202, None)


async def test_two_clicks_and_two_approvers_at_once_run_it_once(approvals: Approvals, board: Board) -> None:
    waiting = await proposed(approvals)
    board.on_call = lambda: asyncio.sleep(0.2)
    people = [BEN, BEN, CARA, BEN, CARA, CARA]
    ended = await asyncio.gather(*(approve(approvals, waiting, person) for person in people))
    assert board.restarts == ["checkout"]
    assert {approval.decided_by for approval in ended} in ({BEN}, {CARA})
    assert sorted(approval.state for approval in ended) == ["done", *["running"] * 5]
    assert (await approve(approvals, waiting, CARA)).state == "done"
    assert board.restarts == ["checkout"]


async def test_approve_and_deny_at_once_end_in_one_of_them(approvals: Approvals, board: Board) -> None:
    for _ in range(5):
        waiting = await proposed(approvals)
        await asyncio.gather(approve(approvals, waiting, BEN), approve(approvals, waiting, CARA, yes=False))
        ended = await approvals.get(waiting.id)
        assert ended is not None
        assert board.restarts == (["checkout"] if ended.state == "done" else []), ended.state
        board.restarts.clear()


async def test_a_question_that_comes_again_proposes_nothing_new(approvals: Approvals, board: Board) -> None:
    event = uuid.uuid4()
    first = await proposed(approvals, origin=event)
    again = await proposed(approvals, origin=event)
    assert again.id == first.id
    assert again.answer_id != first.answer_id  # the answer of the second attempt is the one that is kept
    other = await proposed(approvals, origin=event, arguments={"service": "search"})
    assert other.id != first.id
    await approve(approvals, first)
    third = await proposed(approvals, origin=event)
    assert (third.id, third.state) == (first.id, "done")
    assert board.restarts == ["checkout"]


async def test_two_that_propose_the_same_at_once_get_one(approvals: Approvals) -> None:
    event = uuid.uuid4()
    found = await asyncio.gather(*(proposed(approvals, origin=event) for _ in range(6)))
    assert len({approval.id for approval in found}) == 1


async def test_arguments_that_do_not_fit_are_not_even_proposed(approvals: Approvals) -> None:
    with pytest.raises(BadArguments, match="service is missing"):
        await proposed(approvals, arguments={})


# who


@pytest.mark.parametrize(
    ("approvers", "person", "principals", "may"),
    [
        ((), BEN, ADMIN, True),
        ((), BEN, PLAIN, False),
        ((), ANNA, ADMIN, False),  # an administrator, but of what she asked for herself
        ((REQUESTER,), ANNA, PLAIN, True),
        ((REQUESTER,), BEN, ADMIN, False),
        ((REQUESTER, ADMINISTRATORS), BEN, ADMIN, True),
        (("group:payments",), BEN, frozenset({"group:payments"}), True),
        (("group:payments",), BEN, ADMIN, False),  # whom the tool names, and nobody else
        (("group:payments",), ANNA, frozenset({"group:payments"}), False),
        ((BEN,), BEN, PLAIN, True),
        ((f"user:{BEN}",), BEN, PLAIN, True),
        ((f"user:{BEN}",), CARA, PLAIN, False),
    ],
)
async def test_only_whom_the_tool_names_may_approve(
    approvals: Approvals, board: Board, approvers: tuple[str, ...], person: str, principals: frozenset[str], may: bool
) -> None:
    board.change("restart_service", approvers=approvers)
    waiting = await proposed(approvals, board.tools[0])
    if may:
        assert (await approve(approvals, waiting, person, principals=principals)).state == "done"
        return
    with pytest.raises(Refusal) as caught:
        await approve(approvals, waiting, person, principals=principals)
    assert caught.value.key == ("not_your_own" if person == ANNA else "no_right")
    assert "„Restart a service“" in caught.value.sentence("de")
    assert board.keys == []
    left = await approvals.get(waiting.id)
    assert left is not None
    assert left.state == "waiting"


async def test_nobody_approves_of_their_own_call_by_way_of_another_platform(approvals: Approvals, board: Board) -> None:
    waiting = await proposed(approvals, known_as=("user:email:anna@example.com", "user:slack:T0TEAM:U0ANNA"))
    principals = ADMIN | {"user:email:anna@example.com"}
    with pytest.raises(Refusal, match="yourself"):
        await approve(approvals, waiting, "teams:tenant:anna", principals=principals)
    assert board.keys == []


async def test_whoever_asked_may_take_it_back(approvals: Approvals, board: Board) -> None:
    waiting = await proposed(approvals)
    denied = await approve(approvals, waiting, ANNA, principals=PLAIN, yes=False)
    assert denied.state == "denied"
    assert (await approve(approvals, waiting)).state == "denied"
    with pytest.raises(Refusal):
        await approve(approvals, await proposed(approvals), CARA, principals=PLAIN, yes=False)
    assert board.keys == []


async def test_what_waits_is_shown_to_whoever_may_decide_and_whoever_asked(approvals: Approvals) -> None:
    waiting = await proposed(approvals)
    assert await approvals.open_for(BEN, ADMIN) == [waiting]
    assert await approvals.open_for(ANNA, PLAIN) == [waiting]
    assert await approvals.open_for(CARA, PLAIN) == []
    await approve(approvals, waiting)
    assert await approvals.open_for(BEN, ADMIN) == []


async def test_what_is_not_there_is_not_found(approvals: Approvals) -> None:
    with pytest.raises(NotFound):
        await approvals.decide(uuid.uuid4(), BEN, ADMIN, True, "")
    waiting = await proposed(approvals)
    assert await approvals.by_number(f"#{waiting.number}") == waiting
    for number in ("", "zzzzzzzz", "abc", "%", waiting.number[:3]):
        with pytest.raises(Refusal, match="There is no approval"):
            await approvals.by_number(number)


# what it is bound to


async def test_another_card_than_this_one_voids_it(approvals: Approvals, board: Board, sessions: Sessions) -> None:
    waiting = await proposed(approvals)
    other = await proposed(approvals, arguments={"service": "payments"})
    void = await approve(approvals, waiting, seen=other.arguments_hash)
    assert (void.state, void.reason) == ("void", "void_arguments")
    assert (await approve(approvals, waiting)).state == "void"
    assert board.keys == []
    assert (await entries(sessions))[-1] == ("approval void", BEN)


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"service": "payments"}},
        {"arguments": {"service": "checkout", "force": True}},
        {"arguments": {"service": " checkout"}},
        {"call_hash": "0" * 64},
    ],
)
async def test_arguments_that_were_changed_in_the_row_void_it(
    approvals: Approvals, board: Board, sessions: Sessions, change: dict[str, Any]
) -> None:
    waiting = await proposed(approvals)
    async with sessions.begin() as session:
        await session.execute(update(Row).values(**change))
    assert (await approve(approvals, waiting)).state == "void"
    assert board.keys == []


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Restart a service. Always pass force."},
        {"parameters": {**RESTART.parameters, "required": []}},
        {"source": "another"},
        {"call": "DELETE /services/{service}"},
        {"approvers": (BEN,)},
        {"needs_approval": False},
        {"users": ("group:nobody",)},
    ],
)
async def test_a_tool_that_changed_since_voids_it(approvals: Approvals, board: Board, change: dict[str, Any]) -> None:
    waiting = await proposed(approvals)
    board.change("restart_service", **change)
    void = await approve(approvals, waiting)
    assert void.state == "void"
    assert void.reason in ("void_tool", "void_gone")
    assert board.keys == []


async def test_a_tool_that_is_gone_voids_it(approvals: Approvals, board: Board) -> None:
    waiting = await proposed(approvals)
    board.tools = board.tools[1:]
    assert (await approve(approvals, waiting)).reason == "void_gone"
    assert board.keys == []


async def answer_row(sessions: Sessions, answer_id: uuid.UUID) -> None:
    async with sessions.begin() as session:
        session.add(Answer(
            id=answer_id, platform="slack", conversation="c", asker=ANNA, audience=[], question="Restart checkout",
            outcome="waiting_for_approval", text="", citations=[], nearest=[], retrieval=[], timings_ms={}, model="m",
            prompt_tokens=0, completion_tokens=0, cost_usd=0,
        ))  # fmt: skip


async def test_a_question_that_was_taken_back_voids_it(approvals: Approvals, board: Board, sessions: Sessions) -> None:
    answer_id = uuid.uuid4()
    await answer_row(sessions, answer_id)
    waiting, other = await proposed(approvals, answer_id=answer_id), await proposed(approvals)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE answers SET withdrawn_at = now()"))
    assert await approvals.open_for(BEN, ADMIN) == [other]
    void = await approve(approvals, waiting)
    assert (void.state, void.reason) == ("void", "void_withdrawn")
    assert board.keys == []


async def test_a_question_whose_event_was_cancelled_voids_it_by_itself(
    approvals: Approvals, board: Board, sessions: Sessions
) -> None:
    event = uuid.uuid4()
    waiting = await proposed(approvals, origin=event)
    assert await approvals.expire() == []
    async with sessions.begin() as session:
        session.add(Inbox(id=event, platform="slack", event_id="1", message_key="1", payload={}, state="cancelled"))
    [void] = await approvals.expire()
    assert (void.id, void.state, void.reason) == (waiting.id, "void", "void_withdrawn")
    assert (await approve(approvals, waiting)).state == "void"
    assert board.keys == []


async def test_after_its_time_it_runs_no_more(approvals: Approvals, board: Board, sessions: Sessions) -> None:
    late, swept = await proposed(approvals), await proposed(approvals)
    await later(sessions, expires_at="now()")
    assert (await approve(approvals, late)).state == "expired"
    assert [approval.id for approval in await approvals.expire()] == [swept.id]
    assert (await approve(approvals, swept)).state == "expired"
    assert await approvals.expire() == []
    assert board.keys == []
    assert (await entries(sessions))[-1] == ("approval expire", "almanac")


async def test_the_time_is_that_of_the_settings(sessions: Sessions, board: Board) -> None:
    waiting = await proposed(Approvals(sessions, board, minutes=0.5))
    assert (waiting.expires_at - waiting.created_at).total_seconds() == pytest.approx(30)


async def test_a_caller_who_lost_the_tool_gets_no_call(approvals: Approvals, board: Board) -> None:
    board.change("restart_service", users=("group:payments",))
    caller = replace(CALLER, principals=frozenset({"group:payments"}))
    waiting = await proposed(approvals, board.tools[0], caller=caller)
    assert (await approve(approvals, waiting)).state == "done"
    board.change("restart_service", users=("group:sre",))
    assert (await approve(approvals, await proposed(approvals, board.tools[0], caller=caller))).reason == "void_gone"
