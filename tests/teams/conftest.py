"""The cloud double, a filled index that the tests share, and a running bot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.session import create_engine, create_sessions
from assistant.embedded import free_port
from assistant.knowledge.embedding import Embedder, TransformerEmbedder
from bot.teams import live, paced
from tests.teams.double import TeamsDouble, teams_double, write_certificate
from tests.teams.parts import (
    BUDGETS,
    SECOND,
    TEMPO,
    Bot,
    ScriptedModel,
    WordEmbedder,
    fill,
    make_services,
    make_settings,
    running_bot,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("login"))


@pytest.fixture
def trusted(certificate: tuple[Path, Path]) -> Iterator[None]:
    """The SDK's login client trusts the double's certificate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        yield


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of Teams lasts ``SECOND``: the bot's own pauses and budgets shrink with the double's."""
    monkeypatch.setattr(live, "TEMPO", TEMPO)
    monkeypatch.setattr(paced, "BUDGETS", BUDGETS)


@pytest.fixture
async def double(certificate: tuple[Path, Path], trusted: None) -> AsyncIterator[TeamsDouble]:
    async with teams_double(certificate) as double:
        double.second = SECOND
        yield double


class Children:
    """Bots in processes of their own, one after the other, to be killed."""

    def __init__(self, parent: asyncio.subprocess.Process) -> None:
        assert parent.stdin is not None
        assert parent.stdout is not None
        self._in, self._out = parent.stdin, parent.stdout
        self.pid = 0

    async def start(self, double: TeamsDouble, database: str, step: str = "") -> str:
        """The address of a new bot, which dies at ``step`` by itself."""
        port = free_port()
        configuration = {"step": step, "database": database, "port": port, "url": double.url}
        line = json.dumps({**configuration, "login_url": double.login_url}) + "\n"
        self._in.write(line.encode())
        async with asyncio.timeout(60):
            word, self.pid = await self._read()
        assert word == "ready", "the child did not start"
        return f"http://127.0.0.1:{port}/api/messages"

    async def ended(self) -> int:
        """Its exit status, once it has one."""
        async with asyncio.timeout(60):
            word, status = await self._read()
        assert word == "ended"
        return status

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert await self.ended() == -9

    async def _read(self) -> tuple[str, int]:
        while line := (await self._out.readline()).decode():
            if line.startswith(("ready ", "ended ")):  # the rest is its log
                word, number = line.split()
                return word, int(number)
        raise AssertionError("the children's parent died")


@pytest.fixture(scope="session")
async def children(certificate: tuple[Path, Path]) -> AsyncIterator[Children]:
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(certificate[0])}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.teams.child", cwd=ROOT, env=environment, start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    yield Children(parent)
    os.killpg(parent.pid, signal.SIGKILL)  # with whatever still runs of it
    await parent.wait()


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
        for table in ("votes", "answers", "inbox", "audit", "channel_settings", "uploads", "runs"):
            await connection.execute(text(f"DELETE FROM {table}"))
    yield engine
    await engine.dispose()
