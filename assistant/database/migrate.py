"""Bring a database up to date, and tell whether it is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.errors import DatabaseUnavailable

ADVISORY_LOCK = 0x414C4D41  # "ALMA": two processes that start at once migrate one after the other


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations").replace("%", "%%"))
    return config


def head() -> str:
    return ScriptDirectory.from_config(configuration()).get_current_head() or ""


async def upgrade(engine: AsyncEngine, revision: str = "head") -> None:
    """Migrate to ``revision``; raises ``DatabaseUnavailable`` where Postgres lacks pgvector, or the database is a newer
    Almanac's."""
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.run_sync(_upgrade, revision)
    except DBAPIError as error:
        if "vector" in str(error.orig):
            raise DatabaseUnavailable("Postgres has no pgvector 0.8 or newer; install the extension.") from error
        raise DatabaseUnavailable(f"Postgres refused the migration: {_first_line(error)}.") from error
    await engine.dispose()  # connections made before the extension existed lack its settings


async def current(engine: AsyncEngine) -> str | None:
    """The revision the database is at, or None before the first migration."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _upgrade(connection: Connection, revision: str) -> None:
    config = configuration()
    at = MigrationContext.configure(connection).get_current_revision()
    if at is not None and at not in {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}:
        raise DatabaseUnavailable(f"The database was migrated by a newer Almanac (to {at}); run that one, or a newer.")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0].rstrip(".")
