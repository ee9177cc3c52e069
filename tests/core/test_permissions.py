"""Nobody sees what is not theirs: the role that reads, what Postgres shows it, and random worlds of people."""

from __future__ import annotations

import inspect
import logging
import random

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database import documents, groups, passages
from assistant.database.conditions import look_up
from assistant.database.session import Sessions, admit, create_engine, create_reading_engine, create_sessions
from assistant.errors import DatabaseUnavailable
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.filters import FilterError, Filters
from assistant.knowledge.search import Searcher
from assistant.services import check_reader
from tests.core.parts import Page, document_ids, shelve
from tests.core.worlds import EMBEDDER, PEOPLE, World, watched

CHANNEL = Audience.everyone()
ANNA = Audience(frozenset({EVERYONE, "user:email:anna@example.com"}))
OPEN = Page("open.md", "Ferry guide", ("The ferry leaves at nine from pier three.",), url="https://docs.example/open")
SECRET = Page(
    "zebrafish.md", "Zebrafish plan", ("The salary of quokkas is paid in March.",),
    readers=("user:email:anna@example.com",), url="https://docs.example/zebrafish",
)  # fmt: skip
TABLES = ("documents", "chunks", "sources")


async def vectors_table(sessions: Sessions) -> str:
    async with sessions() as session:
        return f"vectors_{(await session.execute(text('SELECT id FROM embedding_models'))).scalar_one()}"


async def count(reading: Sessions, table: str, audience: Audience | None = None) -> int:
    async with reading() as session:
        if audience is not None:
            await admit(session, audience)
        return int((await session.execute(text(f"SELECT count(id) FROM {table}"))).scalar_one())


async def test_without_an_audience_the_reader_sees_no_row(sessions: Sessions, reading: Sessions) -> None:
    await shelve(sessions, EMBEDDER, OPEN, SECRET)
    vectors = await vectors_table(sessions)
    assert [await count(reading, table) for table in TABLES] == [0, 0, 0]
    assert [await count(reading, table, Audience(frozenset())) for table in TABLES] == [0, 0, 0]
    assert [await count(reading, table, CHANNEL) for table in TABLES] == [1, 1, 1]
    assert [await count(reading, table, ANNA) for table in TABLES] == [2, 2, 1]
    assert [await count(reading, table) for table in TABLES] == [0, 0, 0]  # the audience ended with its transaction
    async with reading() as session:
        seen = f"SELECT count(*) FROM {vectors}"
        assert (await session.execute(text(seen))).scalar_one() == 0
        await admit(session, CHANNEL)
        assert (await session.execute(text(seen))).scalar_one() == 1
        near = f"SELECT count(*) FROM {vectors}_nearest((SELECT embedding FROM {vectors}), NULL, 10)"
        assert (await session.execute(text(near))).scalar_one() == 1


@pytest.mark.parametrize("value", ["", "{}", "{everyon}", '{"every one"}', "{%}"])
async def test_only_the_names_themselves_open_a_row(sessions: Sessions, reading: Sessions, value: str) -> None:
    await shelve(sessions, EMBEDDER, OPEN, SECRET)
    async with reading() as session:
        await session.execute(text("SELECT set_config('almanac.readers', :value, true)"), {"value": value})
        assert (await session.execute(text("SELECT count(*) FROM chunks"))).scalar_one() == 0


FORBIDDEN = [
    "DELETE FROM documents", "UPDATE chunks SET readers = '{everyone}'", "INSERT INTO sources DEFAULT VALUES",
    "TRUNCATE chunks", "CREATE TABLE mine ()", "ALTER TABLE chunks DISABLE ROW LEVEL SECURITY",
    "DROP POLICY reading ON chunks", "SELECT config FROM sources", "SELECT * FROM answers", "SELECT * FROM inbox",
    "SELECT * FROM group_members", "SELECT * FROM uploads", "SELECT * FROM reader_counts",
    "UPDATE embedding_models SET state = 'standby'", "SELECT open_vectors('answers')",
    "CREATE FUNCTION almanac_reader_f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
]  # fmt: skip


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_reader_changes_nothing_and_reads_nothing_else(
    sessions: Sessions, reading: Sessions, statement: str
) -> None:
    await shelve(sessions, EMBEDDER, OPEN, SECRET)
    async with reading() as session:
        await admit(session, ANNA)
        with pytest.raises(ProgrammingError, match=r"permission denied|must be (owner|able)"):
            await session.execute(text(statement))


async def test_resetting_the_role_leads_back_to_the_reader(sessions: Sessions, reading: Sessions) -> None:
    await shelve(sessions, EMBEDDER, OPEN, SECRET)
    async with reading() as session:
        await session.execute(text("RESET ROLE"))
        await session.execute(text("RESET ALL"))
        row = (await session.execute(text("SELECT current_user, count(id) FROM documents"))).one()
    assert tuple(row) == ("almanac_reader", 0)


async def test_a_login_of_its_own_cannot_step_out_of_the_role(
    sessions: Sessions, database_url: str, postgres_url: str
) -> None:
    await shelve(sessions, EMBEDDER, OPEN, SECRET)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS test_login")
        connection.execute("CREATE ROLE test_login LOGIN IN ROLE almanac_reader")
    engine = create_reading_engine(database_url.replace("postgres:", "test_login:", 1))
    own = create_sessions(engine)
    try:
        await check_reader(engine)
        found = await Searcher(own, EMBEDDER).search("salary ferry", audience=CHANNEL)
        assert {hit.external_id for hit in found.hits} == {"open.md"}
        async with own() as session:
            await session.execute(text("SET ROLE NONE"))
            assert (await session.execute(text("SELECT current_user"))).scalar_one() == "test_login"
            assert (await session.execute(text("SELECT count(*) FROM chunks"))).scalar_one() == 0
            with pytest.raises(DBAPIError, match="permission denied to set role"):
                await session.execute(text("SET ROLE postgres"))
    finally:
        await engine.dispose()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP ROLE test_login")


async def test_a_start_refuses_a_reader_that_is_none(engine: AsyncEngine) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"almanac_reader may read past row-level security\.$"):
        await check_reader(engine)


async def test_an_audience_of_single_statements_is_refused(sessions: Sessions, engine: AsyncEngine) -> None:
    """It would end before the next statement, and nothing would be found without a word."""
    await shelve(sessions, EMBEDDER, OPEN)
    each = create_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))
    with pytest.raises(RuntimeError, match="one transaction"):
        await Searcher(each, EMBEDDER).search("ferry", audience=CHANNEL)


async def test_nothing_is_searched_without_an_audience(sessions: Sessions) -> None:
    with pytest.raises(TypeError, match="audience"):
        await Searcher(sessions, EMBEDDER).search("ferry")  # type: ignore[call-arg]
    for function in (
        Searcher.search,
        Searcher.hidden,
        passages.readable,
        passages.around,
        passages.summary_of,
        look_up,
    ):
        parameter = inspect.signature(function).parameters["audience"]
        assert parameter.default is inspect.Parameter.empty
        assert parameter.annotation == "Audience"


async def pairs(session: AsyncSession, statement: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await session.execute(text(statement))}


async def test_the_readers_are_counted_with_every_change(sessions: Sessions) -> None:
    random_ = random.Random(5)
    names = ["everyone", "user:a", "group:x", "group:y"]
    source_id = 0
    for _ in range(40):
        page = Page(
            f"{random_.randint(0, 9)}.md", "T", ("A text.",), tuple(random_.sample(names, random_.randint(1, 3)))
        )
        source_id = await shelve(sessions, EMBEDDER, page)
        known = await document_ids(sessions, source_id)
        async with sessions.begin() as session:
            change, one = random_.random(), random_.choice(sorted(known.values()))
            if change < 0.3:
                await documents.remove(session, [one])
            elif change < 0.6:
                await documents.update_access(session, one, random_.sample(names, 2), None, None)
        async with sessions() as session:
            kept = await pairs(session, "SELECT reader, documents FROM reader_counts")
            true = await pairs(session, "SELECT r, count(*) FROM documents, unnest(readers || ''::text) r GROUP BY 1")
        assert {name: number for name, number in kept.items() if number} == true


# --- worlds of random people, groups and pages


async def test_no_trace_of_a_page_reaches_whoever_may_not_read_it(
    sessions: Sessions, reading: Sessions, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(1, sessions, reading)
    await world.fill(30)

    def shown() -> list[str]:
        logged = [*caplog.messages, *capsys.readouterr()]
        caplog.clear()
        return logged

    assert {Outcome.ANSWERED, Outcome.FAILED} <= await watched(world, 20, shown)


@pytest.mark.parametrize("seed", [4, 5])
async def test_every_way_to_a_passage_keeps_to_the_rules_by_itself(
    sessions: Sessions, reading: Sessions, seed: int
) -> None:
    """The application's own filter is right without Postgres' (as the tables' owner), and Postgres' with it."""
    world = World(seed, sessions, reading)
    await world.fill(20)
    for _ in range(10):
        who = Audience(frozenset(world.random.sample([EVERYONE, *PEOPLE], 2)))
        async with sessions() as session:
            who = await groups.with_groups(session, who)
            rows = (
                await session.execute(
                    text("SELECT c.id, d.external_id, d.url FROM chunks c JOIN documents d ON d.id = c.document_id")
                )
            ).all()
        may = {mark for mark, readers in world.readers.items() if readers & who.principals}
        for kind in (sessions, reading):
            async with kind() as session:
                found = await passages.readable(session, [row.id for row in rows], who)
                assert found == {row.id for row in rows if row.external_id in may}
                for row in rows[::3]:
                    view = await passages.around(session, row.id, who)
                    summary = await passages.summary_of(session, row.url or "", who) if row.url else None
                    assert (view is not None) == (row.external_id in may)
                    assert row.url is None or (summary is not None) == (row.external_id in may)
                if not may:
                    with pytest.raises(FilterError):
                        await look_up(session, Filters(sources=("handbook",)), who)
        async with reading() as session:  # Postgres alone, with no condition in the statement
            await admit(session, who)
            alone = set((await session.execute(text("SELECT external_id FROM documents"))).scalars())
            assert alone == may
        await world.revoke()


async def test_a_schema_of_its_own_has_its_own_fence(postgres_url: str) -> None:
    from assistant.database.scratch import scratch_schema

    async with scratch_schema(postgres_url) as url:
        writing, engine = create_engine(url, pool_size=1), create_reading_engine(url, pool_size=1)
        await shelve(create_sessions(writing), EMBEDDER, OPEN, SECRET)
        await check_reader(engine)
        found = await Searcher(create_sessions(engine), EMBEDDER).search("salary ferry", audience=CHANNEL)
        assert [hit.external_id for hit in found.hits] == ["open.md"]
        assert await count(create_sessions(engine), "chunks") == 0
        await writing.dispose()
        await engine.dispose()
