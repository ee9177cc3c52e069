"""Alembic's environment: one connection, handed over by ``assistant.database.migrate`` or made from the settings."""

from __future__ import annotations

import re

from alembic import context
from sqlalchemy import Connection, create_engine, text

from assistant.database.metadata import METADATA
from assistant.database.session import psycopg_url
from assistant.settings import load_settings


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    """The tables of the embedding models come and go with the models; no migration makes them."""
    return not (kind == "table" and name is not None and re.fullmatch(r"vectors_\d+", name))


def _migrate(connection: Connection) -> None:
    schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    context.configure(
        connection=connection, target_metadata=METADATA, compare_type=True, include_name=_ours,
        # A scratch schema has a version of its own, though that of ``public`` can be seen from it.
        version_table_schema=None if schema == "public" else schema,
    )  # fmt: skip
    with context.begin_transaction():
        context.run_migrations()


def _connect_and_migrate() -> None:
    url = load_settings().database_url
    if url is None:
        raise SystemExit("Set ALMANAC_DATABASE_URL to migrate by hand; `almanac up` migrates the embedded database.")
    with create_engine(psycopg_url(url.get_secret_value())).begin() as connection:
        _migrate(connection)


given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    _connect_and_migrate()
