"""Searching on a read replica (a second Postgres by streaming replication), with a login that can do nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database import documents, migrate, passages
from assistant.database.session import Sessions, create_engine, create_reading_engine, create_sessions
from assistant.embedded import EmbeddedPostgres, _postgres_server, embedded_postgres
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.search import Searcher
from assistant.services import check_reader
from assistant.telemetry import Metrics
from tests.conftest import in_memory
from tests.core.parts import FakeModel, Page, WordEmbedder, document_ids, shelve

EMBEDDER = WordEmbedder()
ANNA = Audience(frozenset({EVERYONE, "user:email:anna@example.com"}))
OPEN = Page("open.md", "Ferry guide", ("The ferry leaves at nine from pier three.",))
SECRET = Page("zebra.md", "Zebra plan", ("The zebra is paid in March.",), ("user:email:anna@example.com",))


@dataclass(frozen=True, slots=True)
class Pair:
    """``primary``: where everything is written; ``reading``: sessions of the reader's own login on the replica."""

    primary_url: str
    primary: Sessions
    reading: Sessions

    async def caught_up(self) -> None:
        """Until the replica has what the primary has now; a second of lag is the replica's right, not the test's."""
        async with self.primary() as session:
            place = (await session.execute(text("SELECT CAST(pg_current_wal_lsn() AS text)"))).scalar_one()
        replayed = text("SELECT pg_last_wal_replay_lsn() >= CAST(:place AS pg_lsn)")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            async with self.reading() as session:
                if (await session.execute(replayed, {"place": place})).scalar_one():
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("the replica does not follow")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """The URLs of a primary and of its replica."""
    with TemporaryDirectory(prefix="almanac-", dir=in_memory(), ignore_cleanup_errors=True) as folder:
        home, other = Path(folder) / "one", Path(folder) / "two"
        with embedded_postgres(home) as url:
            replica = EmbeddedPostgres(other)
            _copy(url, other / "postgres")
            try:
                yield url, replica.start()
            finally:
                replica.stop()


def _copy(url: str, to: Path) -> None:
    """A base backup that starts as a standby of its origin, made by the embedded server's own tool, as its user."""
    origin = Path(str(make_url(url).query["host"]))
    owner = origin.stat()
    to.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        os.chown(to, owner.st_uid, owner.st_gid)
        for folder in (to.parent, to.parent.parent):
            folder.chmod(0o755)
    subprocess.run(
        [
            str(_postgres_server(to).bin_path / "pg_basebackup"), "--host", str(origin), "--username", "postgres",
            "--pgdata", str(to), "--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast",
        ],
        user=owner.st_uid if os.geteuid() == 0 else None, cwd="/", check=True, capture_output=True,
    )  # fmt: skip
    for lock in to.glob(".s.PGSQL.*"):  # the origin's, which keeps its socket among its data
        lock.unlink()


@pytest.fixture
async def pair(servers: tuple[str, str]) -> AsyncIterator[Pair]:
    primary_url, replica_url = servers
    with psycopg.connect(primary_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS company WITH (FORCE)")
        connection.execute("CREATE DATABASE company")
    url, replica = (one.replace("/postgres?", "/company?", 1) for one in servers)
    async with AsyncExitStack() as stack:
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        await migrate.upgrade(engine)
        with psycopg.connect(primary_url, autocommit=True) as connection:
            connection.execute("DROP ROLE IF EXISTS almanac_web")
            connection.execute("CREATE ROLE almanac_web LOGIN IN ROLE almanac_reader")
        primary = create_sessions(engine)
        await shelve(primary, EMBEDDER, OPEN, SECRET)
        await _followed(primary_url, replica_url)
        reader = create_reading_engine(replica.replace("postgres:", "almanac_web:", 1))
        stack.push_async_callback(reader.dispose)
        await check_reader(reader)
        yield Pair(url, primary, create_sessions(reader))


async def _followed(primary_url: str, replica_url: str) -> None:
    with psycopg.connect(primary_url, autocommit=True) as one, psycopg.connect(replica_url, autocommit=True) as other:
        [place] = one.execute("SELECT CAST(pg_current_wal_lsn() AS text)").fetchone() or ("",)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            row = other.execute("SELECT pg_last_wal_replay_lsn() >= CAST(%s AS pg_lsn)", (place,)).fetchone()
            if row and row[0]:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the replica does not follow")


async def found(pair: Pair, words: str, audience: Audience) -> set[str]:
    result = await Searcher(pair.reading, EMBEDDER).search(words, audience=audience)
    return {hit.external_id for hit in result.hits}


async def asked(pair: Pair, words: str, audience: Audience) -> Answer:
    searcher = Searcher(pair.reading, EMBEDDER)
    model = FakeModel("It is as written [1].")
    answering = Answering(pair.primary, searcher, model, Metrics(), max_chars=200, timeout=30)
    question = Question(words, "u", audience, "web", "c")
    events: list[Any] = [event async for event in answering.ask(question)]
    assert isinstance(events[-1], Done)
    return events[-1].answer


async def test_the_replica_is_one_and_can_be_searched_by_its_own_login(pair: Pair) -> None:
    async with pair.reading() as session:
        row = (await session.execute(text("SELECT pg_is_in_recovery(), session_user, current_user"))).one()
    assert tuple(row) == (True, "almanac_web", "almanac_reader")
    assert await found(pair, "zebra ferry", Audience.everyone()) == {"open.md"}
    assert await found(pair, "zebra ferry", ANNA) == {"open.md", "zebra.md"}


async def test_answers_read_from_the_replica_and_are_kept_on_the_primary(pair: Pair) -> None:
    answer = await asked(pair, "When does the ferry leave?", Audience.everyone())
    assert answer.outcome is Outcome.ANSWERED
    assert [citation.title for citation in answer.citations] == ["Ferry guide"]
    async with pair.primary() as session:
        kept = (await session.execute(text("SELECT id FROM answers"))).scalars().all()
    assert kept == [answer.id]
    async with pair.reading() as session:
        view = await passages.around(session, answer.citations[0].chunk_id, Audience.everyone())
    assert view is not None
    assert view.title == "Ferry guide"


async def test_what_is_written_and_what_is_revoked_arrives(pair: Pair) -> None:
    source_id = await shelve(pair.primary, EMBEDDER, Page("new.md", "Crane", ("The crane lifts four tons.",)))
    await pair.caught_up()
    assert "new.md" in await found(pair, "crane", Audience.everyone())
    ids = await document_ids(pair.primary, source_id)
    async with pair.primary.begin() as session:
        await documents.update_access(session, ids["new.md"], ["user:email:ben@example.com"], None, None)
        await documents.update_access(session, ids["zebra.md"], ["user:email:ben@example.com"], None, None)
    await pair.caught_up()
    assert await found(pair, "crane zebra", ANNA) == {"open.md"}


async def test_nothing_can_be_written_there(pair: Pair) -> None:
    for statement in ("DELETE FROM documents", "CREATE TABLE mine ()", "SET ROLE postgres"):
        async with pair.reading() as session:
            with pytest.raises(DBAPIError, match=r"permission denied|read-only transaction"):
                await session.execute(text(statement))
