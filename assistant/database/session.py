"""The engine and its sessions. Nothing is built at import.

What people read is read through ``create_reading_engine``: its connections begin as the role ``READER``, which Postgres
shows only the rows that the audience of the transaction may read (``admit``), and which can change nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from assistant.errors import SettingsError
from assistant.knowledge.audience import Audience

Sessions = async_sessionmaker[AsyncSession]

READER = "almanac_reader"  # made by the migration 0006
_ADMIT = text("SELECT set_config('almanac.readers', CAST(CAST(:readers AS text[]) AS text), true)")

# Filtered approximate scans return too few rows unless the scan goes on (pgvector 0.8, iterative scan).
CONNECTION_SETTINGS = (
    "SET hnsw.ef_search = 100",
    "SET hnsw.iterative_scan = relaxed_order",
    "SET hnsw.max_scan_tuples = 40000",
    "SET jit = off",
)


def psycopg_url(url: str) -> str:
    """The URL with SQLAlchemy's name for psycopg 3, whatever spelling of Postgres it came with."""
    try:
        given = make_url(url)
        if given.get_backend_name() not in ("postgresql", "postgres"):
            raise ArgumentError("of another database")
    except ArgumentError:
        raise SettingsError("ALMANAC_DATABASE_URL is not a Postgres URL (postgresql://user@host/database).") from None
    return given.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def create_engine(url: str, *, pool_size: int = 10, schema: str | None = None) -> AsyncEngine:
    """An engine whose connections search vectors with the settings that filtered search needs."""
    engine = create_async_engine(
        with_option(url, f"search_path={schema},public") if schema else psycopg_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        pool_recycle=1800,
        hide_parameters=True,  # errors are logged, and questions are parameters
        connect_args={"connect_timeout": 5},
    )
    event.listen(engine.sync_engine, "connect", _configure)
    return engine


def create_reading_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine whose connections are the reader's: without ``admit`` they see no row. ``url`` may be that of a login
    of its own, which must be a member of the role."""
    return create_engine(with_option(url, f"role={READER}"), pool_size=pool_size)


async def admit(session: AsyncSession, audience: Audience) -> None:
    """From here to the end of the transaction, Postgres shows what ``audience`` may read."""
    if session.get_bind().get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        raise RuntimeError("An audience is admitted for one transaction, and these statements are one each.")
    await session.execute(_ADMIT, {"readers": sorted(audience.principals)})


async def one_snapshot(session: AsyncSession) -> None:
    """Let the statements of the transaction that begins now see one state of the database. Ends the one before it."""
    await session.rollback()
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def with_option(url: str, option: str) -> str:
    """The URL with one more setting that its connections begin with (``name=value``)."""
    parsed = make_url(psycopg_url(url))
    given = parsed.query.get("options", "")
    options = " ".join([*([given] if isinstance(given, str) else given), f"-c {option}"]).strip()
    return parsed.update_query_dict({"options": options}).render_as_string(hide_password=False)


def create_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


def each_alone(sessions: Sessions) -> Sessions:
    """The same sessions, in which each statement commits by itself: two round trips less where there is only one."""
    engine: AsyncEngine = sessions.kw["bind"]
    return create_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))


def _configure(connection: Any, _record: object) -> None:
    """Loading the library first makes the settings known, also before the extension is created."""
    previous = connection.autocommit
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
    if cursor.fetchone()[0]:
        cursor.execute("SELECT '[1]'::vector")
        for statement in CONNECTION_SETTINGS:
            cursor.execute(statement)
    cursor.close()
    connection.autocommit = previous
