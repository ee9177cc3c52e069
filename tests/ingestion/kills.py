"""Kills the worker, Valkey and Postgres at random while a folder is read, and starts them again, as a supervisor does.

``python -m bench.kills`` does it for long; a test does it for some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from assistant.answering.answer import Answering
from assistant.database import documents, runs
from assistant.database.migrate import upgrade
from assistant.database.runs import RunRow
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.database.tables import Chunk, Document, Sighting
from assistant.embedded import EmbeddedPostgres, EmbeddedValkey
from assistant.errors import AlmanacError
from assistant.knowledge.embedding import Vectors
from assistant.knowledge.search import Searcher
from assistant.models.extractive import ExtractiveModel
from assistant.services import Services
from assistant.settings import Settings
from assistant.telemetry import Metrics, configure_logs
from tests.core.parts import WordEmbedder
from tests.core.test_search import exact
from workers import settings as worker_settings
from workers.ingestion import pipeline

TARGETS = ("worker", "worker", "valkey", "postgres")


class SlowEmbedder(WordEmbedder):
    """Takes its time, so that there is something to interrupt."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        await asyncio.sleep(0.01 * len(texts))
        return await super().embed(texts)


def work(database_url: str, redis_url: str, home: str) -> None:
    """A worker process as ``python -m workers`` runs it, but for the model, and in small batches."""
    configure_logs("ERROR", "json")
    logging.getLogger("arq").setLevel(logging.CRITICAL)  # it has much to tell of servers that die
    pipeline.BATCH_CHUNKS = 8
    settings = Settings(_env_file=None, lease_seconds=1.0, home=Path(home))

    def opened(_settings: Settings, url: str, _threads: int) -> _Opened:
        return _Opened(settings, url)

    worker_settings.open_services = opened  # type: ignore[assignment]

    async def serve() -> None:  # arq takes the loop that runs when a worker is made
        await worker_settings.create_worker(settings, database_url, redis_url).async_run()

    asyncio.run(serve())


class _Opened(AsyncExitStack):
    """Services around the slow embedder."""

    def __init__(self, settings: Settings, url: str) -> None:
        super().__init__()
        self._settings = settings
        self._url = url

    async def __aenter__(self) -> Services:  # type: ignore[override]
        engine = create_engine(self._url)
        self.push_async_callback(engine.dispose)
        sessions, embedder, metrics = create_sessions(engine), SlowEmbedder(), Metrics()
        searcher, model = Searcher(sessions, embedder), ExtractiveModel(embedder)
        answering = Answering(sessions, searcher, model, metrics, max_chars=200, timeout=20)
        return Services(self._settings, engine, sessions, embedder, searcher, model, answering, metrics)


@dataclass
class Outcome:
    run: RunRow
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Crew:
    """The servers and the worker; whatever dies is started again."""

    def __init__(self, home: Path, forks: ForkServerContext) -> None:
        self._home = home
        self._forks = forks
        self._postgres = EmbeddedPostgres(home)
        self._valkey = EmbeddedValkey(home)
        self._worker: ForkServerProcess | None = None
        self._redis_url = ""
        self.url = ""
        self.sessions: Sessions

    async def start(self) -> None:
        self.url = await asyncio.to_thread(self._postgres.start)
        self._redis_url = await asyncio.to_thread(self._valkey.start)
        self._engine = create_engine(self.url)
        await upgrade(self._engine)
        self.sessions = create_sessions(self._engine)
        async with self.sessions.begin() as session:
            await documents.ensure_statistics(session, WordEmbedder.name)

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            await asyncio.to_thread(self._worker.join)
        await self._engine.dispose()
        await asyncio.to_thread(self._valkey.stop)
        await asyncio.to_thread(self._postgres.stop)

    async def revive(self) -> None:
        """Start what is not there. Postgres needs its dead parts gone before it comes back."""
        for _ in range(100):
            try:
                await asyncio.to_thread(self._postgres.ensure_running)
                break
            except AlmanacError:
                await asyncio.sleep(0.1)
        await asyncio.to_thread(self._valkey.ensure_running)
        if self._worker is None or not self._worker.is_alive():
            arguments = (self.url, self._redis_url, str(self._home / "worker"))
            self._worker = self._forks.Process(target=work, args=arguments, daemon=True)
            self._worker.start()

    def kill(self, target: str) -> None:
        """SIGKILL, as when the memory is full."""
        if target == "worker":
            assert self._worker is not None
            pid = self._worker.pid
        elif target == "valkey":
            pid = self._valkey._process.pid if self._valkey._process else None
        else:
            pid = int((self._home / "postgres" / "postmaster.pid").read_text().split()[0])
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just died of the last kill
                os.kill(pid, signal.SIGKILL)

    async def found(self, run_id: uuid.UUID) -> RunRow | None:
        """None while the database is away."""
        try:
            async with self.sessions() as session:
                return await runs.find(session, run_id)
        except (DBAPIError, OSError):
            return None

    async def kill_until_done(self, run_id: uuid.UUID, seed: int, kills: int, patience: float) -> Outcome:
        """Up to so many kills at random moments of the work, each followed by a restart; then in peace to the end."""
        chance, began, killed = random.Random(seed), time.monotonic(), dict.fromkeys(set(TARGETS), 0)
        await self.revive()
        while time.monotonic() - began < patience:
            await asyncio.sleep(chance.uniform(0.05, 0.9) if sum(killed.values()) < kills else 0.3)
            run = await self.found(run_id)
            if run is not None and run.finished:
                return Outcome(run, killed, time.monotonic() - began)
            if sum(killed.values()) < kills and run is not None and run.state == "running":
                target = chance.choice(TARGETS)
                self.kill(target)
                killed[target] += 1
            await self.revive()
        raise AssertionError(f"the run did not end: {await self.found(run_id)}, {killed}")


async def check_whole(sessions: Sessions, names: set[str]) -> None:
    """Every document once, with each of its passages once, and statistics that are exact."""
    async with sessions() as session:
        held = list((await session.execute(select(Document.external_id))).scalars())
        assert len(held) == len(set(held))
        assert set(held) == names
        chunks = select(Document.external_id, func.count(Chunk.id)).outerjoin(Chunk).group_by(Document.external_id)
        assert all(count == 1 for _, count in await session.execute(chunks))
        assert (await session.execute(select(func.count()).select_from(Sighting))).scalar_one() == 0
    await exact(sessions)


async def rehearse(home: Path, seed: int, size: int, kills: int, patience: float) -> Outcome:
    """Read a folder of ``size`` files, change it, and read it again, with kills in both."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ingestion.kills"])
    crew, folder = Crew(home, context), home / "docs"
    folder.mkdir()
    for n in range(size):
        (folder / f"{n:05}.md").write_text(f"# Service {n}\n\nStep {n} is done by hand.")
    await crew.start()
    try:
        first = await _rehearse_once(crew, folder, seed, kills - kills // 3, patience)
        for n in range(0, size, 3):
            (folder / f"{n:05}.md").unlink()
        for n in range(1, size, 3):
            (folder / f"{n:05}.md").write_text(f"# Service {n}\n\nStep {n} is done by a machine, finally.")
        second = await _rehearse_once(crew, folder, seed + 1, kills // 3, patience)
        names = {path.name for path in folder.iterdir()}
        await check_whole(crew.sessions, names)
        killed = {target: first.kills[target] + second.kills[target] for target in first.kills}
        return Outcome(second.run, killed, first.seconds + second.seconds)
    finally:
        await crew.stop()


async def _rehearse_once(crew: Crew, folder: Path, seed: int, kills: int, patience: float) -> Outcome:
    async with crew.sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"paths": [str(folder)]})
    outcome = await crew.kill_until_done(run_id, seed, kills, patience)
    assert outcome.run.state == "succeeded", outcome
    await check_whole(crew.sessions, {path.name for path in folder.iterdir()})
    return outcome
