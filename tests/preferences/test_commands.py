"""What administrators say in chat and in the terminal about what votes taught, and what they are shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assistant.commands import Caller, Commands, Reply
from assistant.commands.context import Context
from assistant.database import audit, preferences, runs, votes
from assistant.knowledge.audience import Audience
from assistant.queue import RunQueue
from bot.terminal import app
from tests.preferences.town import PEOPLE, THINGS, Town
from workers.execution import execute

TEMPLATE = "voted_template"


@pytest.fixture
async def town(town: Town) -> Town:
    """Where a gain waits for somebody's word."""
    town.settings = town.settings.model_copy(update={"preferences": "wait"})
    return town


def desk(town: Town) -> Any:
    commands = Commands(Context(town.settings, town.sessions, town.searcher, RunQueue(None), "m", "words"))

    async def say(text: str, admin: bool = True, confirmed: bool = False, language: str = "en") -> Reply:
        caller = Caller(PEOPLE[0], "slack", Audience.everyone(), admin, language, "channel:slack:T1:C1")
        return await commands.run(text, caller, confirmed)

    return commands, say


async def test_the_whole_way_in_chat(town: Town) -> None:
    commands, say = desk(town)
    assert (await say("preferences", admin=False)).failed
    assert (await say("preferences dance")).failed
    nothing = await say("preferences")
    assert nothing.text == (
        f"Votes have no say in the order of passages. {3 * len(THINGS)} new votes since the newest version."
    )
    assert (await say("preferences report")).text == "Nothing was learned from votes yet."
    begun = await say("preferences learn")
    assert begun.run_id is not None
    await execute(town, begun.run_id)  # type: ignore[arg-type]
    [ended] = [state async for state in commands.follow(begun.run_id, "de")]
    assert ended.text.startswith(f"Fassung 1 entstand aus {3 * len(THINGS)} Stimmen und ist ein belegter Gewinn")

    shown = await say("preferences report", language="fr")
    assert "Version **1** (en attente)" in shown.text
    assert shown.table is not None
    assert shown.table.rows[0][1:] == ("Notes of the week", shown.table.rows[0][2], shown.table.rows[0][3])
    assert shown.table.rows[0][2].startswith("Restart the")
    assert not any(person in f"{shown.text}{shown.table}" for person in PEOPLE)
    asked = await say("preferences promote 1")
    assert asked.confirm is not None
    assert await town.first("gateway") == "diary"
    assert not (await say("preferences canary 1 20%")).failed
    assert (await say("preferences canary 1 0.9")).failed
    assert "**1** is tried on 20% of the conversations" in (await say("preferences")).text
    assert not (await say(asked.confirm.command, confirmed=True)).failed
    await town.policies.refresh()
    assert await town.first("gateway") == "guide"
    assert (await say("preferences canary 1")).failed
    back = await say("preferences rollback")
    assert back.text == "Version 1 is taken back. Votes have no say in the order of passages."
    assert (await say("preferences rollback")).text == "Nothing that was learned from votes is in force."
    await town.policies.refresh()
    assert await town.first("gateway") == "diary"
    async with town.sessions() as session:
        done = {(entry.action, entry.target) for entry in await audit.recent(session)}
    assert done >= {("preferences learn", ""), ("preferences canary", "1"), ("preferences promote", "1"),
                    ("preferences rollback", "")}  # fmt: skip


async def test_the_terminal_says_the_same_as_json_and_draws(
    town: Town, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
    version = await town.learn()
    assert version is not None

    async def almanac(*words: str) -> Any:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["preferences", *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout) if "--json" in words else result.stdout

    found = await almanac("--json")
    assert (found["promoted"], found["canary"], found["new_votes"]) == (None, None, 0)
    [one] = found["versions"]
    assert (one["version"], one["state"], one["votes"]) == (version.id, "candidate", 3 * len(THINGS))
    picture = tmp_path / "votes.png"
    report = await almanac("report", "--plot", str(picture), "--json")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    assert report["report"]["changes"]["first_changed"] == len(THINGS)
    assert "48 of 48 votes" in await almanac("report")
    assert (await almanac("canary", str(version.id), "--share", "0.2", "--json"))["state"] == "canary"
    assert (await almanac("promote", str(version.id), "--json"))["state"] == "promoted"
    assert f"Version {version.id} is in force." in await almanac()
    assert await almanac("rollback", "--json") == {"taken_back": [version.id], "promoted": None}
    with pytest.raises(preferences.NoSuchVersion, match="There is no version 77"):
        await almanac("promote", "77")


async def test_of_several_steps_each_rollback_takes_one_back(town: Town) -> None:
    """1 promoted, 2 promoted, 3 tried: 3 goes, then 2, then 1; and a refused one never comes."""
    async with town.sessions.begin() as session:
        for number in (1, 2, 3, 4):
            await preferences.add(
                session, await runs.create(session, "learn", {}), state="refused" if number == 4 else "candidate",
                reason="No." if number == 4 else None, embedding="words", model={}, report={}, votes=0, voters=0,
                pairs=0, fingerprint=str(number), until=(await votes.voted(session))[-1].at,
            )  # fmt: skip
    steps = []
    for number in (1, 2):
        async with town.sessions.begin() as session:
            await preferences.promote(session, number)
    async with town.sessions.begin() as session:
        await preferences.canary(session, 3, 0.1)
        with pytest.raises(preferences.NoSuchVersion, match="was refused: No"):
            await preferences.promote(session, 4)
    for _ in range(3):
        async with town.sessions.begin() as session:
            steps.append(await preferences.rollback(session))
    assert steps == [(3, 2), (2, 1), (1, None)]
    await town.policies.refresh()  # models that cannot be read order nothing
    assert await town.first("gateway") == "diary"
