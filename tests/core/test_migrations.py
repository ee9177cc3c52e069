"""Migrations bring a database to what ``tables.py`` says, up and down, and a start refuses what does not fit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database import documents, migrate, vectors
from assistant.database.metadata import METADATA
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.errors import DatabaseUnavailable, SettingsError
from assistant.knowledge.audience import Audience
from assistant.knowledge.documents import text_hash
from assistant.knowledge.search import Searcher
from assistant.services import check_database
from tests.core.parts import Page, WordEmbedder, document_ids, shelve


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """A database in which nothing was ever done."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    engine = create_engine(postgres_url.replace("/postgres?", f"/{name}?", 1))
    yield engine
    await engine.dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def differences(engine: AsyncEngine) -> list[object]:
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, METADATA))

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


async def downgrade(engine: AsyncEngine, revision: str) -> None:
    def step(connection: Connection) -> None:
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(step)


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_up_from_nothing_is_what_the_tables_say(empty: AsyncEngine) -> None:
    assert await migrate.current(empty) is None
    await migrate.upgrade(empty)
    assert await migrate.current(empty) == migrate.head()
    assert await differences(empty) == []
    assert set(METADATA.tables) <= await tables(empty)


async def test_the_comparison_sees_a_difference(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE votes ALTER COLUMN value TYPE integer"))
        await connection.execute(text("DROP INDEX ix_chunks_terms"))
    assert len(await differences(engine)) == 2


async def test_every_step_goes_down_and_up_again(empty: AsyncEngine) -> None:
    await migrate.upgrade(empty)
    revisions = list(ScriptDirectory.from_config(migrate.configuration()).walk_revisions())
    for revision in revisions:
        await downgrade(empty, str(revision.down_revision or "base"))
        assert await migrate.current(empty) == revision.down_revision
        await migrate.upgrade(empty, revision.revision)
        assert await migrate.current(empty) == revision.revision
        await downgrade(empty, str(revision.down_revision or "base"))
    assert await tables(empty) <= {"alembic_version"}
    await migrate.upgrade(empty)
    assert await differences(empty) == []


async def test_two_that_start_at_once_both_succeed(empty: AsyncEngine) -> None:
    other = create_engine(empty.url.render_as_string(hide_password=False))
    await asyncio.gather(migrate.upgrade(empty), migrate.upgrade(other))
    await other.dispose()
    await check_database(empty)


async def test_upgrading_again_keeps_what_is_there(sessions: Sessions, engine: AsyncEngine) -> None:
    source_id = await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("A text.",)))
    await migrate.upgrade(engine)
    assert set(await document_ids(sessions, source_id)) == {"a.md"}


async def test_a_database_without_migration_gives_one_sentence(empty: AsyncEngine) -> None:
    with pytest.raises(DatabaseUnavailable, match=rf"migration none, this version needs {migrate.head()}") as caught:
        await check_database(empty)
    assert "\n" not in str(caught.value)


async def test_a_database_that_is_away_gives_one_sentence_without_the_password() -> None:
    engine = create_engine("postgresql://almanac:hidden@127.0.0.1:1/almanac")
    with pytest.raises(
        DatabaseUnavailable, match=r"Postgres cannot be reached at \S+127\.0\.0\.1:1/almanac\.$"
    ) as caught:
        await check_database(engine)
    assert "hidden" not in str(caught.value)
    await engine.dispose()


async def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^ALMANAC_DATABASE_URL .*\.$"):
        create_engine("not a url")


async def test_another_embedding_model_is_refused_while_the_index_holds_chunks(engine: AsyncEngine) -> None:
    sessions = create_sessions(engine)
    source_id = await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("A text.",)))
    async with sessions.begin() as session:
        with pytest.raises(SettingsError) as caught:
            await documents.ensure_statistics(session, "other-model")
    sentence = str(caught.value)
    assert "ALMANAC_EMBEDDING_MODEL is other-model" in sentence
    assert "words" in sentence
    assert "\n" not in sentence
    async with sessions.begin() as session:
        await documents.remove(session, list((await document_ids(sessions, source_id)).values()))
        await documents.ensure_statistics(session, "other-model")
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, "other-model")


async def test_vectors_move_out_of_the_chunks_and_back(engine: AsyncEngine) -> None:
    """0004: what was found before is found after, under the hash by which the next ingest looks for it."""
    sessions = create_sessions(engine)
    embedder = WordEmbedder()
    pages = (
        Page("a.md", "Ferry guide", ("Lunch at noon.", "Roll back."), headings=("FERRY GUIDE", "Deploying", "Größe")),
        Page("b.md", "B", ("Keys rotate.",)),
    )
    await shelve(sessions, embedder, *pages)

    async def first() -> list[tuple[str, float]]:
        await engine.dispose()
        found = await Searcher(sessions, embedder).search("lunch noon", audience=Audience.everyone())
        return [(hit.text, round(hit.cosine, 3)) for hit in found.hits]

    async def hashes() -> set[uuid.UUID]:
        async with sessions() as session:
            return set((await session.execute(text("SELECT text_hash FROM chunks"))).scalars())

    before, expected = await first(), await hashes()
    await downgrade(engine, "0003")
    assert not {name for name in await tables(engine) if name.startswith("vectors_")}
    async with sessions() as session:
        stored = await session.execute(text("SELECT count(embedding) FROM chunks"))
        model = await session.execute(text("SELECT embedding_model FROM corpus_statistics"))
        assert (stored.scalar_one(), model.scalar_one()) == (3, "words")
    await migrate.upgrade(engine)
    assert await first() == before
    assert await hashes() == expected == {
        text_hash(chunk.embedded_text(page.title)) for page in pages for chunk in page.chunks
    }  # fmt: skip
    async with sessions() as session:
        missing = await vectors.missing(session, list(expected))
    assert [(model.name, model.state, lacking) for model, lacking in missing] == [("words", "active", [])]


async def test_a_newer_almanacs_database_is_named_and_left_alone(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
    with pytest.raises(DatabaseUnavailable, match="9999_later"):
        await migrate.upgrade(engine)
    assert await migrate.current(engine) == "9999_later"
