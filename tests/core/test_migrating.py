"""``almanac migrate``: an empty database is made, one that is there is left, and what is wrong is one sentence."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from assistant.database import migrate
from assistant.errors import DatabaseUnavailable, SettingsError
from assistant.settings import Settings
from bot.migrating import brought_up


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    name = f"empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def settings(url: str | None) -> Settings:
    return Settings(database_url=SecretStr(url) if url else None, _env_file=None)  # type: ignore[call-arg]


async def test_an_empty_database_is_migrated_once_whoever_comes_first(empty_url: str) -> None:
    several = await asyncio.gather(*(brought_up(settings(empty_url)) for _ in range(3)))
    assert {after for _, after in several} == {migrate.head()}
    assert await brought_up(settings(empty_url)) == (migrate.head(), migrate.head())


async def test_what_is_wrong_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="ALMANAC_DATABASE_URL is not set"):
        await brought_up(settings(None))
    with pytest.raises(DatabaseUnavailable, match=r"Postgres cannot be reached at .*\*\*\*@127"):
        await brought_up(settings("postgresql://almanac:secret@127.0.0.1:1/almanac"))
