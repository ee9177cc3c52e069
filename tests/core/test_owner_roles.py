"""The migrations run by an owner who is no superuser: what it can do by itself, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql

from assistant.database import migrate
from assistant.database.session import create_engine, create_reading_engine, create_sessions
from assistant.embedded import embedded_postgres
from assistant.errors import DatabaseUnavailable
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.services import check_reader
from tests.conftest import in_memory
from tests.core.parts import Page, WordEmbedder, shelve

OPEN = Page("open.md", "Ferry guide", ("The ferry leaves at nine from pier three.",))
SECRET = Page("zebra.md", "Zebra plan", ("The ferry of the zebra leaves at ten.",), ("user:email:anna@example.com",))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on which nothing of ours was ever done: roles are the whole server's."""
    with TemporaryDirectory(prefix="almanac-", dir=in_memory(), ignore_cleanup_errors=True) as folder:  # noqa: SIM117
        with embedded_postgres(Path(folder)) as url:
            yield url


def run(url: str, *statements: sql.SQL | sql.Composed | str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture
def owned(server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database with pgvector, as its owner, who has the rights that the test names."""
    rights = request.param
    run(
        server,
        f"CREATE ROLE company LOGIN {rights}",
        "CREATE DATABASE company OWNER company",
    )
    database = server.replace("/postgres?", "/company?", 1)
    run(database, "CREATE EXTENSION vector")  # pgvector's own installation lets only a superuser do it
    yield database.replace("postgres:", "company:", 1)
    run(server, "DROP DATABASE company WITH (FORCE)", "DROP ROLE IF EXISTS almanac_reader", "DROP ROLE company")


async def migrated(url: str) -> None:
    engine = create_engine(url, pool_size=1)
    try:
        await migrate.upgrade(engine)
    finally:
        await engine.dispose()


async def works(url: str) -> None:
    """Written by the owner, searched by the role, and the fence holds."""
    engine, reading = create_engine(url, pool_size=2), create_reading_engine(url, pool_size=2)
    try:
        await check_reader(reading)
        await shelve(create_sessions(engine), WordEmbedder(), OPEN, SECRET)
        found = await Searcher(create_sessions(reading), WordEmbedder()).search("ferry", audience=Audience.everyone())
        assert [hit.external_id for hit in found.hits] == ["open.md"]
    finally:
        await engine.dispose()
        await reading.dispose()


@pytest.mark.parametrize("owned", ["NOSUPERUSER CREATEROLE"], indirect=True)
async def test_an_owner_who_may_make_roles_needs_no_help(owned: str) -> None:
    await migrated(owned)
    await works(owned)


@pytest.mark.parametrize("owned", ["NOSUPERUSER NOCREATEROLE"], indirect=True)
async def test_one_who_may_not_is_told_both_lines_that_an_administrator_runs(owned: str, server: str) -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        await migrated(owned)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(
        "let an administrator run: CREATE ROLE almanac_reader NOLOGIN; GRANT almanac_reader TO company."
    )
    lines = sentence.partition("let an administrator run: ")[2].removesuffix(".")
    run(server, *lines.split("; "))
    await migrated(owned)
    await works(owned)


@pytest.mark.parametrize("owned", ["NOSUPERUSER NOCREATEROLE", "NOSUPERUSER CREATEROLE"], indirect=True)
async def test_a_role_that_another_made_takes_one_line(owned: str, server: str) -> None:
    """CREATEROLE alone grants no role of another's making since Postgres 16."""
    run(server, "CREATE ROLE almanac_reader NOLOGIN")
    with pytest.raises(DatabaseUnavailable) as refused:
        await migrated(owned)
    assert str(refused.value).endswith("let an administrator run: GRANT almanac_reader TO company.")
    run(server, "GRANT almanac_reader TO company")
    await migrated(owned)
    await works(owned)


@pytest.mark.parametrize("owned", ["NOSUPERUSER CREATEROLE"], indirect=True)
async def test_a_role_that_could_read_past_the_policies_is_refused(owned: str, server: str) -> None:
    run(server, "CREATE ROLE almanac_reader NOLOGIN BYPASSRLS")
    with pytest.raises(DatabaseUnavailable, match="may bypass row-level security"):
        await migrated(owned)


@pytest.mark.parametrize("owned", ["NOSUPERUSER CREATEROLE"], indirect=True)
async def test_every_step_goes_down_and_up_again_without_a_superuser(owned: str) -> None:
    from tests.core.test_migrations import downgrade

    await migrated(owned)
    engine = create_engine(owned, pool_size=1)
    await downgrade(engine, "base")
    await migrate.upgrade(engine)
    await engine.dispose()
    await works(owned)
