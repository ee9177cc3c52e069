"""The run that learns: one version a run, whoever dies; one run at a time; asked for when it is due."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from assistant.database import preferences, runs
from assistant.database.session import Sessions
from assistant.database.tables import Run
from assistant.database.tables_preferences import PreferenceVersion
from assistant.settings import Settings
from tests.preferences.town import THINGS, Town
from workers.ingestion.lease import LeaseLost, RunLease, SourceBusy
from workers.ingestion.report import Report
from workers.preferences.learning import ask_where_due, learn

ROOT = Path(__file__).parents[2]


TEMPLATE = "voted_template"


@dataclass(frozen=True)
class Parts:
    """What a run needs of the services."""

    settings: Settings
    sessions: Sessions
    searcher: Any
    embedder: Any


def parts(town: Town) -> Any:
    return Parts(town.settings, town.sessions, town.searcher, town.embedder)


async def claimed(town: Town, owner: str = "w", lease: float = 30.0) -> RunLease:
    async with town.sessions.begin() as session:
        run_id, _ = await preferences.request(session)
        assert await runs.claim(session, run_id, owner, timedelta(seconds=lease))
    return RunLease(run_id, owner)


async def versions(sessions: Sessions) -> list[tuple[str, uuid.UUID | None]]:
    async with sessions() as session:
        found = await session.execute(select(PreferenceVersion.state, PreferenceVersion.run_id))
        return [(state, run_id) for state, run_id in found]


async def test_a_run_makes_one_version_and_a_second_attempt_finds_it(town: Town) -> None:
    lease, report = await claimed(town), Report()
    await learn(parts(town), {}, report, lease)
    assert (report.result()["state"], report.result()["votes"]) == ("promoted", 3 * len(THINGS))
    again = Report()
    await learn(parts(town), {}, again, lease)
    assert again.about == report.about
    assert await versions(town.sessions) == [("promoted", lease.id)]


async def test_who_lost_the_lease_keeps_and_promotes_nothing(town: Town) -> None:
    lease = await claimed(town, lease=0.01)
    await asyncio.sleep(0.05)
    async with town.sessions.begin() as session:
        assert await runs.claim(session, lease.id, "another", timedelta(seconds=30))
    with pytest.raises(LeaseLost):
        await learn(parts(town), {}, Report(), lease)
    assert await versions(town.sessions) == []


async def test_two_runs_at_once_work_one_after_the_other(town: Town) -> None:
    first, second = await claimed(town, "one"), await claimed(town, "two")
    assert first.id != second.id

    async def later() -> None:
        with pytest.raises(SourceBusy):
            await learn(parts(town), {}, Report(), second)

    await asyncio.gather(learn(parts(town), {}, Report(), first), later())
    async with town.sessions.begin() as session:
        await runs.succeed(session, first.id, "one", {}, {})
    report = Report()
    await learn(parts(town), {}, report, second)
    assert report.about == {"version": None, "state": "unchanged"}
    assert await versions(town.sessions) == [("promoted", first.id)]


async def test_a_run_is_asked_for_when_it_is_due(town: Town) -> None:
    async def asked() -> int:
        async with town.sessions.begin() as session:
            await ask_where_due(session, parts(town))
            return (await session.execute(select(func.count()).where(Run.kind == "learn"))).scalar_one()

    assert await asked() == 1
    assert await asked() == 1  # it waits
    async with town.sessions.begin() as session:
        await session.execute(update(Run).values(state="succeeded", created_at=func.now() - timedelta(hours=23)))
    assert await asked() == 1  # the day is not over
    await town.votes(THINGS[:1])
    async with town.sessions.begin() as session:
        await session.execute(update(Run).values(created_at=func.now() - timedelta(hours=25)))
    assert await asked() == 2
    async with town.sessions.begin() as session:
        await session.execute(update(Run).values(state="succeeded", created_at=func.now()))
        # what is in force knows questions by another model's vectors
        session.add(PreferenceVersion(
            state="promoted", embedding="the model before", model={}, report={}, votes=0, voters=0, pairs=0,
            fingerprint="", until=func.now(),
        ))  # fmt: skip
        await session.execute(update(Run).values(created_at=func.now() - timedelta(hours=2)))
    assert await asked() == 3
    town.settings = town.settings.model_copy(update={"preferences": "off"})
    async with town.sessions.begin() as session:
        await session.execute(update(Run).values(state="succeeded", created_at=func.now() - timedelta(days=9)))
    assert await asked() == 3


async def test_a_worker_that_is_killed_leaves_one_version(town: Town, database_url: str, tmp_path: Path) -> None:
    """A real worker dies in the middle of its run; the next one ends it."""
    async with town.sessions.begin() as session:
        run_id, new = await preferences.request(session)
        assert new
    environment = os.environ | {
        "ALMANAC_DATABASE_URL": database_url, "ALMANAC_LEASE_SECONDS": "1", "ALMANAC_EMBEDDING_THREADS": "1",
        "PYTHONPATH": str(ROOT), "ALMANAC_LOG_LEVEL": "ERROR",
    }  # fmt: skip

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.preferences.worker", str(run_id), cwd=tmp_path, env=environment
        )

    first = await start()
    async with asyncio.timeout(60):
        while (await progress(town.sessions, run_id)) < 1:
            assert first.returncode is None
            await asyncio.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    await first.wait()
    assert await versions(town.sessions) == []
    await asyncio.sleep(1.1)  # the lease
    second = await start()
    async with asyncio.timeout(60):
        assert await second.wait() == 0
    assert await versions(town.sessions) == [("promoted", run_id)]
    async with town.sessions() as session:
        run = await runs.find(session, run_id)
    assert run is not None
    assert (run.state, run.attempts) == ("succeeded", 2)


async def progress(sessions: Sessions, run_id: uuid.UUID) -> int:
    async with sessions() as session:
        run = await runs.find(session, run_id)
    return int(run.progress.get("done", 0)) if run else 0
