"""A backup of a real database with an index, and its restore: nothing is lost, and a damaged one changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import psycopg
import pytest
from sqlalchemy import text

from assistant.database.backup import BackupError, back_up, restore
from assistant.database.session import Sessions, create_engine, create_reading_engine, create_sessions
from assistant.errors import DatabaseUnavailable
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from tests.core.parts import Page, WordEmbedder, shelve


@pytest.fixture
async def filled(sessions: Sessions) -> None:
    await shelve(
        sessions,
        WordEmbedder(),
        Page("deploy.md", "Deploying", ("Roll back a ledger release within 15 minutes.",)),
        Page("pay.md", "Payroll", ("Salaries are paid on the 25th.",), readers=("group:hr",)),
    )


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
        yield postgres_url.replace("/postgres?", "/restored?", 1)
        connection.execute("DROP DATABASE restored WITH (FORCE)")


@pytest.fixture
async def reading(empty: str) -> AsyncIterator[Sessions]:
    engine = create_reading_engine(empty)
    yield create_sessions(engine)
    await engine.dispose()


async def test_what_was_kept_answers_again_and_permissions_hold(
    filled: None, database_url: str, empty: str, reading: Sessions, tmp_path: Path
) -> None:
    file = tmp_path / "almanac.dump"
    kept = await back_up(database_url, file)
    assert (kept.rows["documents"], kept.sha256) == (
        2,
        orjson.loads((tmp_path / "almanac.dump.json").read_bytes())["sha256"],
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["almanac.dump", "almanac.dump.json"]
    assert await restore(empty, file) == kept
    searcher = Searcher(reading, WordEmbedder())
    found = await searcher.search("How fast must a release be rolled back?", audience=Audience.everyone())
    assert [hit.title for hit in found.hits] == ["Deploying"]
    found = await searcher.search("When are salaries paid?", audience=Audience(frozenset({"everyone", "group:hr"})))
    assert found.hits[0].title == "Payroll"


async def test_a_backup_is_one_moment_though_people_go_on(
    filled: None, sessions: Sessions, database_url: str, empty: str, tmp_path: Path
) -> None:
    """Rows that come while it is made are in neither the file nor its note."""

    async def go_on() -> None:
        while True:
            async with sessions.begin() as session:
                await session.execute(
                    text("INSERT INTO audit (person, platform, action, target) VALUES ('p', 't', 'a', '')")
                )

    going_on = asyncio.create_task(go_on())
    try:
        await back_up(database_url, tmp_path / "b.dump")
    finally:
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
    await restore(empty, tmp_path / "b.dump")  # compares the rows of each table with the note


async def test_a_database_that_holds_something_is_left_alone(filled: None, database_url: str, tmp_path: Path) -> None:
    await back_up(database_url, tmp_path / "b.dump")
    with pytest.raises(BackupError, match=r"^The database is not empty \(it has \d+ tables\)"):
        await restore(database_url, tmp_path / "b.dump")


async def test_a_damaged_file_is_refused_and_changes_nothing(
    filled: None, database_url: str, empty: str, tmp_path: Path
) -> None:
    file = tmp_path / "b.dump"
    await back_up(database_url, file)
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(b"\0\0\0\0")
    with pytest.raises(BackupError, match=r"b\.dump is damaged: its SHA-256 is not the one in b\.dump\.json\.$"):
        await restore(empty, file)
    shutil.copy(file, tmp_path / "alone.dump")
    with pytest.raises(BackupError, match=r"alone\.dump\.json cannot be read: No such file or directory\.$"):
        await restore(empty, tmp_path / "alone.dump")
    engine = create_engine(empty)
    async with engine.connect() as connection:
        assert (
            await connection.scalar(text("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
            == 0
        )
    await engine.dispose()


async def test_what_cannot_be_backed_up_is_one_sentence(empty: str, database_url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="holds no Almanac"):
        await back_up(empty, tmp_path / "b.dump")
    with pytest.raises(BackupError, match=r"cannot be written: No such file or directory\.$"):
        await back_up(database_url, tmp_path / "missing" / "b.dump")
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await back_up("postgresql://nobody@127.0.0.1:1/almanac", tmp_path / "b.dump")
    assert list(tmp_path.iterdir()) == []
