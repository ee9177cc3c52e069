"""``almanac approvals``: listing, showing, deciding; and an answer that waits, as the terminal shows it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError
from assistant.tools.approval import Approval, Approvals
from assistant.tools.registry import Toolbox
from bot import console
from bot.terminal import app
from tests.tools.board import Board
from tests.tools.test_approval import proposed


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Any) -> Board:
    board = Board()
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
    monkeypatch.setattr(Toolbox, "open", lambda _settings: board)
    return board


async def propose(url: str, board: Board) -> Approval:
    engine = create_engine(url)
    approval = await proposed(Approvals(create_sessions(engine), board, 15), board.tools[0], name="Anna")
    await engine.dispose()
    return approval


@pytest.fixture
def waiting(board: Board, database_url: str) -> Approval:
    return asyncio.run(propose(database_url, board))


def almanac(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["approvals", *words], catch_exceptions=True, env={"COLUMNS": "200"})
    if isinstance(result.exception, AlmanacError):
        assert code == 1
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def test_what_waits_is_listed_shown_and_approved_once(waiting: Approval, board: Board) -> None:
    listed = almanac()
    assert waiting.number in listed
    assert 'service="checkout"' in listed
    whole = almanac("show", waiting.number[:6])
    assert "POST /services/{service}/restart" in whole
    assert "Anna asked for this call" in whole
    done = json.loads(almanac("approve", waiting.number, "--yes", "--json"))
    assert (done["state"], done["result"]) == ("done", "checkout restarts")
    assert json.loads(almanac("approve", waiting.number, "--yes", "--json"))["state"] == "done"
    assert board.restarts == ["checkout"]
    assert "No call waits" in almanac("list")
    [kept] = json.loads(almanac("list", "--all", "--json"))["approvals"]
    assert kept["state"] == "done"


def test_where_nobody_can_be_asked_nothing_is_run(waiting: Approval, board: Board) -> None:
    assert "say so with --yes" in almanac("approve", waiting.number, code=1)
    assert board.keys == []
    assert "Denied by terminal:" in almanac("deny", waiting.number)
    assert board.keys == []


def test_what_is_not_there_and_what_is_others_to_decide_is_one_sentence(board: Board, database_url: str) -> None:
    assert almanac("show", "ffffffff", code=1) == "There is no approval ffffffff."
    board.change("restart_service", approvers=("group:payments",))
    other = asyncio.run(propose(database_url, board))
    assert "You may not approve" in almanac("approve", other.number, "--yes", code=1)
    assert board.keys == []


def test_an_answer_that_waits_says_how_to_decide() -> None:
    screen = Console(record=True, width=120)
    pending = {
        "id": "3d0a4c0c-0000-0000-0000-000000000000",
        "title": "Restart a service",
        "arguments": {"a": "b\u202e"},
    }
    answer = {
        "outcome": "waiting_for_approval", "text": "It **waits**.", "citations": [], "nearest": [], "timings_ms": {},
        "model": "m", "usage": {"prompt_tokens": 0, "cost_usd": 0.0}, "approvals": [pending],
    }  # fmt: skip
    console.show_answer(screen, answer)
    said = screen.export_text()
    assert "Restart a service  waits for approval" in said
    assert r'"b\u202e"' in said
    assert "almanac approvals approve 3d0a4c0c" in said
