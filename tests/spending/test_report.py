"""What administrators see of the cost, in the terminal and in chat; nobody else sees amounts."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console
from sqlalchemy import text

from assistant.answering.messages import Usage
from assistant.commands.commands import _COMMANDS
from assistant.commands.context import Context
from assistant.commands.replies import Caller, Refused, Reply
from assistant.commands.spending import spending
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import FilterError
from assistant.queue import RunQueue
from assistant.settings import Settings
from assistant.spending.budget import Budget
from assistant.spending.report import GROUPS, report
from bot.spending_cli import By, show_spending
from tests.spending.test_budget import question, settings_with

SETTINGS = settings_with(cap_day_usd=1.0, cap_person_day_usd=0.1, cap_month_tokens=10_000)


async def spend(sessions: Sessions, person: str, channel: str, cost: float, days_ago: int = 0, calls: int = 1) -> None:
    now = datetime.now(UTC) - timedelta(days=days_ago)
    budget = Budget(sessions, SETTINGS, clock=lambda: now)
    purse = budget.purse(question(person, f"T1:{channel}:1.0"), uuid.uuid4())
    for _ in range(calls):
        async with purse.call("m", prompt_tokens=1, completion_tokens=1, purpose="write") as call:
            call.used(Usage(10, 5, cost), cached_tokens=4)


@pytest.fixture
async def spent(sessions: Sessions) -> Sessions:
    await spend(sessions, "slack:T1:anna", "C1", 0.045, calls=2)
    await spend(sessions, "slack:T1:ben", "C1", 0.02)
    await spend(sessions, "slack:T1:ben", "C2", 0.005, days_ago=3)
    await spend(sessions, "slack:T1:carl", "C2", 0.5, days_ago=30)
    return sessions


async def test_it_is_split_by_what_is_asked_for(spent: Sessions) -> None:
    budget = Budget(spent, SETTINGS)
    async with spent() as session:
        by = {name: await report(session, budget, name) for name in GROUPS}
    people = [(row.name, row.answers, row.calls, float(row.usd)) for row in by["person"].rows]
    assert people == [("slack:T1:anna", 1, 2, 0.09), ("slack:T1:ben", 2, 2, 0.025)]
    assert [(row.name, float(row.usd)) for row in by["channel"].rows] == [("slack:T1:C1", 0.11), ("slack:T1:C2", 0.005)]
    assert [row.name for row in by["model"].rows] == ["m"]
    today = datetime.now(UTC).date()
    assert [row.name for row in by["day"].rows] == [str(today - timedelta(days=3)), str(today)]
    for found in by.values():
        assert (found.total.calls, found.total.prompt_tokens, found.total.cached_tokens) == (4, 40, 16)
        assert sum(row.usd for row in found.rows) == found.total.usd
    assert tuple(By) == GROUPS


async def test_it_goes_back_as_far_as_asked(spent: Sessions) -> None:
    budget = Budget(spent, SETTINGS)
    async with spent() as session:
        assert (await report(session, budget, "person", "60d")).total.calls == 5
        assert (await report(session, budget, "person", "1d")).total.calls == 3
        with pytest.raises(FilterError):
            await report(session, budget, "person", "soon")


async def test_caps_are_shown_and_people_who_are_near_theirs(spent: Sessions) -> None:
    async with spent() as session:
        found = await report(session, Budget(spent, SETTINGS), "model")
    assert [(use.scope, use.name) for use in found.caps] == [("month", ""), ("day", ""), ("person", "slack:T1:anna")]
    assert found.caps[1].share == pytest.approx(0.11)
    assert found.caps[2].share == pytest.approx(0.9)
    assert found.settings == {
        "ALMANAC_CAP_DAY_USD": "1.0", "ALMANAC_CAP_PERSON_DAY_USD": "0.1", "ALMANAC_CAP_MONTH_TOKENS": "10000",
    }  # fmt: skip
    document = orjson.loads(orjson.dumps(found.as_json()))
    assert document["caps"][1]["cap_usd"] == 1.0
    assert document["total"]["usd"] == pytest.approx(0.115)


async def test_a_call_whose_end_nobody_saw_is_counted_as_such(sessions: Sessions) -> None:
    await Budget(sessions, SETTINGS).purse(question()).reserve("m", 100, 50)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE model_calls SET held_until = now() - interval '1 s'"))
    async with sessions() as session:
        found = await report(session, Budget(sessions, SETTINGS), "model")
    assert (found.total.unknown, float(found.total.usd)) == (1, 0.02)
    assert "1 calls broke off" in shown(found)


def shown(found: object) -> str:
    console = Console(file=StringIO(), width=110)
    show_spending(console, found)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


async def test_the_terminal_shows_it(spent: Sessions) -> None:
    async with spent() as session:
        page = shown(await report(session, Budget(spent, SETTINGS), "person"))
    lines = [line.split() for line in page.splitlines()]
    assert ["slack:T1:anna", "1", "2", "20", "8", "10", "$0.0900"] in lines
    assert ["together", "3", "4", "40", "16", "20", "$0.1150"] in lines
    assert "Today: $0.1100 of $1.00" in page


async def test_the_terminal_says_that_nothing_was_called(sessions: Sessions) -> None:
    bare = settings_with()
    async with sessions() as session:
        page = shown(await report(session, Budget(sessions, bare), "person"))
    assert "No model was called since" in page
    assert "No cap is set" in page


async def in_chat(sessions: Sessions, rest: str, settings: Settings = SETTINGS, language: str = "en") -> Reply:
    context = Context(settings, sessions, None, RunQueue(None), "m", "e")  # type: ignore[arg-type]
    caller = Caller("slack:T1:anna", "slack", Audience.everyone(), True, language, "channel:slack:T1:C1")
    return await spending(context, caller, rest, False)


async def test_administrators_see_it_in_chat(spent: Sessions) -> None:
    reply = await in_chat(spent, "channel 7d")
    assert "**$0.1150** for 3 answers (4 model calls)" in reply.text
    assert "- Today: $0.1100 of $1.00" in reply.text
    assert reply.table is not None
    assert reply.table.header == ("Channel", "Answers", "Calls", "Tokens", "Cost")
    assert reply.table.rows[0] == ("slack:T1:C1", "2", "3", "45", "$0.1100")
    assert "Heute" in (await in_chat(spent, "", language="de")).text
    with pytest.raises(Refused, match="is no date"):
        await in_chat(spent, "person soon")
    with pytest.raises(Refused, match="takes one of"):
        await in_chat(spent, "person 7d and more")
    assert _COMMANDS["spending"].admin


def test_the_command_prints_one_document_and_names_what_it_cannot_read(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    command = [sys.executable, "-m", "bot.terminal", "spending", "--by", "person"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "ALMANAC_HOME": str(tmp_path)}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    done = run("--json")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["total"]["calls"] == 0
    wrong = run("--since", "soon")
    assert wrong.returncode == 1
    assert "--since takes" in wrong.stderr
    assert "Traceback" not in wrong.stderr
