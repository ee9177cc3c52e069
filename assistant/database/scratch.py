"""A schema of its own for the length of a block: migrated at its beginning, dropped at its end.

While the block lasts, one connection holds an advisory lock named after the schema. A schema whose lock is free was
left behind by a process that was killed, and is dropped by the next block, from whatever machine.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from assistant.database import migrate
from assistant.database.session import create_engine, psycopg_url, with_option
from assistant.errors import DatabaseUnavailable

PREFIX = "almanac_scratch_"
_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
_LEFT_BEHIND = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) ORDER BY nspname"


@asynccontextmanager
async def scratch_schema(url: str) -> AsyncIterator[str]:
    """Yields the URL of an empty, migrated index in a schema of its own; whoever connects to it sees only that one.

    Raises ``DatabaseUnavailable``.
    """
    name = PREFIX + uuid.uuid4().hex[:12]
    async with await _connect(url) as connection:
        await connection.execute(_LOCK, (name,))
        await _drop_left_behind(connection)
        try:
            await _create(connection, name)
            inside = within(url, name)
            engine = create_engine(inside, pool_size=1)
            await migrate.upgrade(engine)
            await engine.dispose()
            yield inside
        finally:
            await _drop(connection, name)


async def settle(url: str) -> None:
    """What autovacuum does to tables that have been filled, now: plans and pending lists as in an index at rest."""
    async with await _connect(url) as connection:
        await connection.execute("VACUUM (ANALYZE) documents, chunks, terms, corpus_statistics")


def within(url: str, schema: str) -> str:
    """The URL with ``schema`` before all others, for every process that connects by it."""
    return with_option(url, f"search_path={schema},public")


async def _connect(url: str) -> psycopg.AsyncConnection:
    parsed = make_url(psycopg_url(url))
    _, given = parsed.get_dialect()().create_connect_args(parsed)  # libpq reads URLs a little differently
    try:
        return await psycopg.AsyncConnection.connect(**{"connect_timeout": 5, **given}, autocommit=True)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"Postgres cannot be reached at {parsed.render_as_string()}.") from error


async def _create(connection: psycopg.AsyncConnection, name: str) -> None:
    """The extension goes to ``public`` where it is new: in the schema it would be dropped under everybody else."""
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DatabaseUnavailable(f"Postgres does not let us make a scratch schema: {reason}.") from error


async def _drop(connection: psycopg.AsyncConnection, name: str) -> None:
    await connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


async def _drop_left_behind(connection: psycopg.AsyncConnection) -> None:
    rows = await (await connection.execute(_LEFT_BEHIND, (PREFIX,))).fetchall()
    for (name,) in rows:
        locked = await (await connection.execute(_LOCK, (name,))).fetchone()
        if locked and locked[0]:
            await _drop(connection, name)
            await connection.execute(_UNLOCK, (name,))
