"""Whatever breaks off between a decision and its end, no call is made twice, and nobody is told what is not known."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from assistant.database import approvals as rows
from assistant.database.session import Sessions
from assistant.tools import running
from assistant.tools.approval import MAX_ATTEMPTS, Approval, Approvals
from assistant.tools.showing import status
from tests.tools.board import Board
from tests.tools.test_approval import approve, entries, later, proposed


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(file=tmp_path / "restarts")


@pytest.fixture
def approvals(sessions: Sessions, board: Board) -> Approvals:
    return Approvals(sessions, board, minutes=15)


async def dies(url: str, approval: Approval, step: str, board: Board) -> None:
    """A process of its own decides, and ends at the step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tools.child", url, str(approval.id), approval.arguments_hash, step,
        str(board.file), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    async with asyncio.timeout(60):
        assert await process.wait() == 9


async def state(approvals: Approvals, approval: Approval) -> str:
    found = await approvals.get(approval.id)
    assert found is not None
    return found.state


def restarts(board: Board) -> list[str]:
    assert board.file is not None
    return board.file.read_text().splitlines() if board.file.exists() else []


@pytest.mark.parametrize(("step", "done"), [("before", 0), ("call", 0), ("sent", 1), ("kept", 1)])
async def test_a_process_that_dies_leaves_a_call_that_nobody_makes_again(
    database_url: str, approvals: Approvals, board: Board, sessions: Sessions, step: str, done: int
) -> None:
    waiting = await proposed(approvals)
    await dies(database_url, waiting, step, board)
    assert await state(approvals, waiting) == "running"
    assert len(restarts(board)) == done
    assert await approvals.expire() == []  # its lease still lasts: somebody may be at it
    assert (await approve(approvals, waiting)).state == "running"  # the redelivered click
    await later(sessions, running_until="now()")
    [lost] = await approvals.expire()
    assert lost.state == "unknown"
    assert "Look before you ask again" in status(lost, "en")
    assert (await approve(approvals, waiting)).state == "unknown"
    assert (await proposed(approvals, origin=waiting.origin)).state == "unknown"  # the question that comes again
    assert await approvals.expire() == []
    assert len(restarts(board)) == done
    assert (await entries(sessions))[-1] == ("approval unknown", "almanac")


@pytest.mark.parametrize("step", ["before", "call", "sent", "kept"])
async def test_where_the_api_keeps_keys_the_same_call_is_sent_again(
    database_url: str,
    approvals: Approvals,
    board: Board,
    sessions: Sessions,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_IDEMPOTENT", "1")
    board.change("restart_service", idempotent=True)
    waiting = await proposed(approvals, board.tools[0])
    await dies(database_url, waiting, step, board)
    board.done_keys = {line.split()[1] for line in restarts(board)}  # the API remembers
    await later(sessions, running_until="now()")
    [done] = await approvals.expire()
    assert (done.state, done.attempts) == ("done", 2)
    assert restarts(board) == [f"checkout {waiting.id}"]
    assert board.keys == [str(waiting.id)]


async def test_a_key_that_never_gets_through_is_given_up(
    approvals: Approvals, board: Board, sessions: Sessions
) -> None:
    board.change("restart_service", idempotent=True)
    waiting = await proposed(approvals, board.tools[0])
    for _ in range(MAX_ATTEMPTS):
        arrived = board.hangs()
        work = asyncio.create_task(
            approve(approvals, waiting) if not board.keys else approvals.expire()  # type: ignore[arg-type]
        )
        await asyncio.wait_for(arrived.wait(), 10)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        await later(sessions, running_until="now()")
    [lost] = await approvals.expire()
    assert lost.state == "unknown"
    assert len(board.keys) == MAX_ATTEMPTS


async def test_a_tool_that_changed_since_is_not_sent_again(
    approvals: Approvals, board: Board, sessions: Sessions
) -> None:
    board.change("restart_service", idempotent=True)
    waiting = await proposed(approvals, board.tools[0])
    async with sessions.begin() as session:
        await rows.change(session, waiting.id, state="running", attempts=1)
    await later(sessions, running_until="now()")
    board.change("restart_service", description="Restarts everything.")
    assert [approval.state for approval in await approvals.expire()] == ["unknown"]
    assert board.keys == []


async def test_two_processes_that_sweep_at_once_send_it_again_once(sessions: Sessions, board: Board) -> None:
    board.change("restart_service", idempotent=True)
    sweepers = [Approvals(sessions, board, minutes=15) for _ in range(4)]
    waiting = await proposed(sweepers[0], board.tools[0])
    async with sessions.begin() as session:
        await rows.change(session, waiting.id, state="running", attempts=1)
    await later(sessions, running_until="now()")
    board.on_call = lambda: asyncio.sleep(0.3)
    changed = await asyncio.gather(*(sweeper.expire() for sweeper in sweepers))
    assert [approval.state for found in changed for approval in found] == ["done"]
    assert len(board.keys) == 1


async def test_a_call_that_takes_longer_than_its_lease_keeps_it(
    approvals: Approvals, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "RENEW_SECONDS", 0.1)
    waiting = await proposed(approvals)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        arrived.set()
        await go.wait()

    board.on_call = wait
    work = asyncio.create_task(approve(approvals, waiting))
    await asyncio.wait_for(arrived.wait(), 10)
    first = await approvals.get(waiting.id)
    async with asyncio.timeout(60):
        while (await approvals.get(waiting.id)).running_until == first.running_until:  # type: ignore[union-attr]
            await asyncio.sleep(0.05)
    go.set()
    assert (await work).state == "done"


async def test_a_slow_call_that_was_given_up_is_known_after_all(
    approvals: Approvals, board: Board, sessions: Sessions
) -> None:
    waiting = await proposed(approvals)

    async def overtaken() -> None:
        await later(sessions, running_until="now()")
        assert [approval.state for approval in await approvals.expire()] == ["unknown"]

    board.after_call = overtaken
    assert (await approve(approvals, waiting)).state == "done"
    assert board.restarts == ["checkout"]


@pytest.mark.parametrize(("uncertain", "ended"), [(False, "failed"), (True, "unknown")])
async def test_what_the_tool_says_is_told(
    approvals: Approvals, board: Board, sessions: Sessions, uncertain: bool, ended: str
) -> None:
    board.fails(503, uncertain)
    found = await approve(approvals, await proposed(approvals))
    assert (found.state, found.reason) == (ended, "The catalogue answered with an error.")
    assert (await entries(sessions))[-1][0] == f"approval {ended}"
    async with sessions() as session:
        assert (await session.execute(text("SELECT status, error FROM tool_calls"))).one() == (503, found.reason)


async def test_a_call_that_breaks_in_a_way_nobody_thought_of_is_not_said_to_have_failed(
    approvals: Approvals, board: Board
) -> None:
    async def broken() -> None:
        raise KeyError("oops")

    board.after_call = broken
    waiting = await proposed(approvals)
    assert (await approve(approvals, waiting)).state == "unknown"
    assert (await approve(approvals, waiting)).state == "unknown"
    assert board.restarts == ["checkout"]


async def test_a_look_before_that_fails_keeps_nobody_from_doing(approvals: Approvals, board: Board) -> None:
    board.tools = board.tools[:1]
    done = await approve(approvals, await proposed(approvals))
    assert (done.state, done.before) == ("done", {"error": "There is no read called service_status."})


async def test_a_database_that_is_away_at_the_end_leaves_it_open(
    approvals: Approvals, board: Board, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await proposed(approvals)

    async def away(*_arguments: object, **_more: object) -> None:
        raise OperationalError("", {}, Exception())

    with monkeypatch.context() as patch:
        patch.setattr(rows, "record_call", away)
        with pytest.raises(OperationalError):
            await approve(approvals, waiting)
    assert await state(approvals, waiting) == "running"
    assert (await approve(approvals, waiting)).state == "running"
    await later(sessions, running_until="now()")
    assert [approval.state for approval in await approvals.expire()] == ["unknown"]
    assert board.restarts == ["checkout"]
