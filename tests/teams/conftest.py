"""The cloud double, a filled index that the tests share, and a running bot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.session import create_engine, create_sessions
from assistant.knowledge.embedding import Embedder, TransformerEmbedder
from tests.teams.double import TeamsDouble, teams_double, write_certificate
from tests.teams.parts import Bot, ScriptedModel, WordEmbedder, fill, make_services, make_settings, running_bot


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("login"))


@pytest.fixture
def trusted(certificate: tuple[Path, Path]) -> Iterator[None]:
    """The SDK's login client trusts the double's certificate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        yield


@pytest.fixture
async def double(certificate: tuple[Path, Path], trusted: None) -> AsyncIterator[TeamsDouble]:
    async with teams_double(certificate) as double:
        yield double


@pytest.fixture(scope="session")
async def index_url(postgres_url: str, template: str, embedder: TransformerEmbedder) -> str:
    return await _filled_database(postgres_url, template, "teams_index", embedder)


@pytest.fixture(scope="session")
async def words_url(postgres_url: str, template: str) -> str:
    """The same documents under vectors that a child process makes without loading a model."""
    return await _filled_database(postgres_url, template, "teams_words", WordEmbedder())


@pytest.fixture
async def filled(index_url: str) -> AsyncIterator[AsyncEngine]:
    async for engine in _without_events(index_url):
        yield engine


@pytest.fixture
async def words(words_url: str) -> AsyncIterator[AsyncEngine]:
    async for engine in _without_events(words_url):
        yield engine


@pytest.fixture
async def bot(double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder) -> AsyncIterator[Bot]:
    services = make_services(make_settings(double), filled, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        yield bot


async def _filled_database(postgres_url: str, template: str, name: str, embedder: Embedder) -> str:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = postgres_url.replace("/postgres?", f"/{name}?", 1)
    engine = create_engine(url)
    await fill(create_sessions(engine), embedder)
    await engine.dispose()
    return url


async def _without_events(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    async with engine.begin() as connection:
        for table in ("votes", "answers", "inbox"):
            await connection.execute(text(f"DELETE FROM {table}"))
    yield engine
    await engine.dispose()
