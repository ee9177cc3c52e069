"""The engine and its sessions. Nothing is built at import."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from assistant.errors import SettingsError

Sessions = async_sessionmaker[AsyncSession]

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
        return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    except ArgumentError:
        raise SettingsError("ALMANAC_DATABASE_URL is not a Postgres URL (postgresql://user@host/database).") from None


def create_engine(url: str, *, pool_size: int = 10, schema: str | None = None) -> AsyncEngine:
    """An engine whose connections search vectors with the settings that filtered search needs."""
    options = f"-c search_path={schema},public" if schema else ""
    engine = create_async_engine(
        psycopg_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        pool_recycle=1800,
        hide_parameters=True,  # errors are logged, and questions are parameters
        connect_args={"connect_timeout": 5, "options": options} if options else {"connect_timeout": 5},
    )
    event.listen(engine.sync_engine, "connect", _configure)
    return engine


def create_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


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
