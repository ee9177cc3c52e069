"""Runs: rows under a lease, worked off by a real worker process, whatever dies on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select

from assistant import queue
from assistant.database import runs
from assistant.database.runs import MAX_ATTEMPTS, RunRow
from assistant.database.session import Sessions
from assistant.database.tables import Chunk, Document
from tests.core.test_search import exact

ROOT = Path(__file__).parents[2]
LEASE = timedelta(seconds=10)


async def create(sessions: Sessions, kind: str = "ingest", **arguments: Any) -> uuid.UUID:
    async with sessions.begin() as session:
        return await runs.create(session, kind, arguments)


async def claim(sessions: Sessions, run_id: uuid.UUID, owner: str, lease: timedelta = LEASE) -> RunRow | None:
    async with sessions.begin() as session:
        return await runs.claim(session, run_id, owner, lease)


async def found(sessions: Sessions, run_id: uuid.UUID) -> RunRow:
    async with sessions() as session:
        run = await runs.find(session, run_id)
    assert run is not None
    return run


async def waiting(sessions: Sessions) -> list[uuid.UUID]:
    async with sessions() as session:
        return await runs.waiting(session)


async def test_a_run_is_claimed_once(sessions: Sessions) -> None:
    run_id = await create(sessions)
    claims = await asyncio.gather(*(claim(sessions, run_id, f"w{n}") for n in range(8)))
    assert sum(run is not None for run in claims) == 1
    assert await claim(sessions, uuid.uuid4(), "w1") is None
    assert (await found(sessions, run_id)).attempts == 1


async def test_a_lease_that_ran_out_can_be_taken_and_the_old_owner_is_a_stranger(sessions: Sessions) -> None:
    run_id = await create(sessions)
    assert await claim(sessions, run_id, "old", timedelta(seconds=0.3))
    assert await waiting(sessions) == []
    await asyncio.sleep(0.4)
    assert await waiting(sessions) == [run_id]
    taken = await claim(sessions, run_id, "new")
    assert taken is not None
    assert taken.attempts == 2
    async with sessions.begin() as session:
        assert not await runs.renew(session, run_id, "old", LEASE, {"done": 1})
        assert await runs.renew(session, run_id, "new", LEASE, {"done": 2})
        await runs.succeed(session, run_id, "old", {}, {"added": 1})
        await runs.fail(session, run_id, "old", "no")
        await runs.release(session, run_id, "old", "no")
    run = await found(sessions, run_id)
    assert (run.state, run.progress, run.error) == ("running", {"done": 2}, None)
    async with sessions.begin() as session:
        await runs.succeed(session, run_id, "new", {"done": 3}, {"added": 1})
        assert not await runs.renew(session, run_id, "new", LEASE, {})
    run = await found(sessions, run_id)
    assert (run.finished, run.state, run.result) == (True, "succeeded", {"added": 1})
    assert await claim(sessions, run_id, "later") is None


async def test_a_released_run_waits_again_and_fails_after_the_last_attempt(sessions: Sessions) -> None:
    run_id = await create(sessions)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        run = await claim(sessions, run_id, "w")
        assert run is not None
        assert run.attempts == attempt
        async with sessions.begin() as session:
            await runs.release(session, run_id, "w", "OperationalError")
    assert await waiting(sessions) == []
    run = await found(sessions, run_id)
    assert (run.state, run.error) == ("failed", "OperationalError")


class Workers:
    """Worker processes on this test's database and a Valkey of its own."""

    def __init__(self, sessions: Sessions, database_url: str, redis_url: str, folder: Path) -> None:
        self.sessions = sessions
        self.redis_url = redis_url
        self.environment = {
            **os.environ,
            "ALMANAC_DATABASE_URL": database_url,
            "ALMANAC_REDIS_URL": redis_url,
            "ALMANAC_LEASE_SECONDS": "1",
            "ALMANAC_EMBEDDING_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.folder = folder
        self.processes: list[asyncio.subprocess.Process] = []
        self.log = folder / "worker.log"

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workers", *arguments,
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    async def finished(self, run_id: uuid.UUID, seconds: float = 60.0) -> RunRow:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (await found(self.sessions, run_id)).finished:
                    await asyncio.sleep(0.1)
        run = await found(self.sessions, run_id)
        assert run.finished, f"{run}\n{self.log.read_text()[-3000:]}"
        return run

    async def documents(self) -> int:
        async with self.sessions() as session:
            return (await session.execute(select(func.count()).select_from(Document))).scalar_one()

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def workers(sessions: Sessions, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Workers]:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    crew = Workers(sessions, database_url, redis_url, tmp_path)
    yield crew
    await crew.stop()


DOCUMENTS = 450  # small ones, more than two batches of the pipeline


def library(folder: Path) -> Path:
    docs = folder / "docs"
    docs.mkdir()
    for n in range(DOCUMENTS):
        (docs / f"{n}.md").write_text(f"# Service {n}\n\nStep {n} is done by hand.")
    return docs


async def test_a_worker_survives_its_death_the_loss_of_the_queue_and_a_polite_stop(workers: Workers) -> None:
    """One story, for a worker takes seconds to start: each chapter ends with every document there once."""
    docs = library(workers.folder)
    run_id = await create(workers.sessions, paths=[str(docs)])  # never enqueued: the sweep finds it
    first = await workers.start()
    async with asyncio.timeout(90):
        while not await workers.documents() > 0:
            assert first.returncode is None, workers.log.read_text()[-3000:]
            await asyncio.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    await first.wait()
    assert not (await found(workers.sessions, run_id)).finished
    assert await workers.documents() < DOCUMENTS

    second = await workers.start()
    run = await workers.finished(run_id, 90)
    assert (run.state, run.attempts, run.error) == ("succeeded", 2, None), run
    assert await workers.documents() == DOCUMENTS
    async with workers.sessions() as session:
        doubled = select(Chunk.document_id, Chunk.ordinal).group_by(Chunk.document_id, Chunk.ordinal)
        assert (await session.execute(doubled.having(func.count() > 1))).all() == []
    await exact(workers.sessions)

    async with Redis.from_url(workers.redis_url) as redis:
        await redis.flushall()
    unknown = await create(workers.sessions, "bake")
    run = await workers.finished(unknown)
    assert (run.state, run.error) == ("failed", "This version knows no run of kind bake.")
    missing = await create(workers.sessions, paths=["/nowhere/at/all"])
    run = await workers.finished(missing)
    assert (run.state, run.error) == ("failed", "/nowhere/at/all does not exist on this machine.")

    pool = await queue.connect(workers.redis_url)
    run_id = await create(workers.sessions, paths=[str(docs)])
    await queue.enqueue(pool, run_id)
    await queue.enqueue(pool, run_id)
    run = await workers.finished(run_id)
    assert run.result is not None
    assert (run.attempts, run.result["unchanged"]) == (1, DOCUMENTS)
    await pool.aclose()

    second.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await second.wait() == 0


async def test_a_run_works_without_a_queue_and_is_handed_back_when_stopped(workers: Workers) -> None:
    docs = library(workers.folder)
    del workers.environment["ALMANAC_REDIS_URL"]
    run_id = await create(workers.sessions, paths=[str(docs)])
    process = await workers.start("run", str(run_id))
    async with asyncio.timeout(90):
        while not await workers.documents() > 0:
            assert process.returncode is None, workers.log.read_text()[-3000:]
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        await process.wait()
    run = await found(workers.sessions, run_id)
    assert (run.state, run.attempts) == ("queued", 1)  # at once, not when the lease ends
    await workers.start("run", str(run_id))
    run = await workers.finished(run_id, 90)
    assert (run.state, run.attempts) == ("succeeded", 2)
    assert await workers.documents() == DOCUMENTS
    await exact(workers.sessions)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ALMANAC_REDIS_URL": None}, "ALMANAC_REDIS_URL"),
        ({"ALMANAC_REDIS_URL": "http://x"}, "ALMANAC_REDIS_URL"),
        ({"ALMANAC_DATABASE_URL": None}, "ALMANAC_DATABASE_URL"),
    ],
    ids=["no queue", "not a queue", "no database"],
)
async def test_a_worker_that_cannot_start_says_why(workers: Workers, change: dict[str, str | None], named: str) -> None:
    for name, value in change.items():
        if value is None:
            del workers.environment[name]
        else:
            workers.environment[name] = value
    process = await workers.start()
    async with asyncio.timeout(30):
        assert await process.wait() == 1
    [line] = workers.log.read_text().splitlines()
    assert named in line


async def test_a_run_whose_worker_dies_every_time_is_given_up_with_a_sentence(sessions: Sessions) -> None:
    run_id = await create(sessions)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        async with sessions.begin() as session:
            assert await runs.give_up_exhausted(session) == []
        taken = await claim(sessions, run_id, f"w{attempt}", timedelta(seconds=0.05))
        assert taken is not None
        assert taken.attempts == attempt
        await asyncio.sleep(0.1)
    async with sessions.begin() as session:
        assert await runs.give_up_exhausted(session) == [run_id]
    assert await waiting(sessions) == []
    run = await found(sessions, run_id)
    assert run.state == "failed"
    assert run.error == f"The worker died at each of {MAX_ATTEMPTS} attempts; its log says more."
