"""A database that is away for a moment, while a run has nothing to ask it: the run goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import InterfaceError, TimeoutError

from assistant.database import runs, sightings
from assistant.database.session import Sessions
from tests.ingestion.source_station import station
from workers import execution, jobs

AWAY = [
    ConnectionRefusedError("it starts again"),
    TimeoutError("no connection of the pool was free"),
    InterfaceError("select", None, OSError("connection is closed")),
]


class Flaky:
    """Sessions whose second ``begin`` finds no database; the first claims the run."""

    def __init__(self, sessions: Sessions, error: Exception, good: int) -> None:
        self.sessions, self.error, self.good, self.calls = sessions, error, good, 0
        self.back = asyncio.Event()

    def __call__(self) -> Any:
        return self.sessions()

    def begin(self) -> Any:
        self.calls += 1
        if self.calls == self.good + 1:
            raise self.error
        if self.calls > self.good + 1:
            self.back.set()
        return self.sessions.begin()


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
async def test_a_heartbeat_that_is_missed_ends_no_run(
    database_url: str, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky = Flaky(sessions, error, good=1)

    async def work(*_: Any) -> None:
        await flaky.back.wait()

    monkeypatch.setitem(execution.KINDS, "ingest", work)
    async with station(database_url, sessions, tmp_path / "home") as desk:
        async with sessions.begin() as session:
            run_id = await runs.create(session, "ingest", {})
        await execution.execute(replace(desk.services, sessions=flaky), run_id)  # type: ignore[arg-type]
        async with sessions() as session:
            run = await runs.find(session, run_id)
    assert run is not None
    assert (run.state, run.attempts) == ("succeeded", 1)


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
async def test_what_the_clock_asks_for_waits_for_the_database(
    database_url: str, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The nightly comparison comes once a day: it is not left out because the database started again just then."""
    done = []

    async def forget(_session: Any) -> None:
        done.append("compared")

    monkeypatch.setattr(sightings, "forget_lost_sightings", forget)
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.01, raising=False)
    async with station(database_url, sessions, tmp_path / "home") as desk:
        flaky = Flaky(sessions, error, good=0)
        services: Any = replace(desk.services, sessions=flaky)  # type: ignore[arg-type]
        await jobs.reconcile({"services": services})
        assert done == ["compared"]
        for job in (jobs.sweep, jobs.learn, jobs.judge):  # those come again by themselves
            flaky = Flaky(sessions, error, good=0)
            await job({"services": replace(desk.services, sessions=flaky), "redis": None})  # type: ignore[arg-type]
