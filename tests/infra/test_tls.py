"""Database and queue by TLS: everything that connects holds the server to its certificate and its name."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from assistant.database import backup
from assistant.database.migrate import head
from assistant.database.session import create_engine, create_reading_engine
from assistant.errors import DatabaseUnavailable, QueueUnavailable
from assistant.queue import QUEUE, RunQueue, connect, redis_settings
from tests.conftest import fresh_database
from tests.infra.files import INFRA, ROOT, environment
from tests.infra.tls import Authority, Door, door


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


@pytest.fixture
def others(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path, "others")


@asynccontextmanager
async def postgres(url: str, certificate: Path) -> AsyncIterator[Door]:
    """The test's own database behind a door."""
    given = conninfo_to_dict(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    socket = Path(str(given["host"])) / f".s.PGSQL.{given.get('port', 5432)}"
    async with door(certificate, lambda: asyncio.open_unix_connection(socket), postgres=True) as found:
        yield found


def through(url: str, port: int, authority: Authority, host: str = "localhost") -> str:
    """The URL of the same database through the door, as Terraform writes it into the store."""
    user, name = make_url(url).username, make_url(url).database
    return f"postgresql://{user}@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={quote(str(authority.file))}"


async def test_engines_take_a_server_that_its_authority_vouches_for(database_url: str, ours: Authority) -> None:
    async with postgres(database_url, ours.sign("localhost")) as entry:
        url = through(database_url, entry.port, ours)
        for made in (create_engine(url), create_reading_engine(url), create_engine(url, schema="elsewhere")):
            async with made.connect() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
            await made.dispose()
    assert (entry.opened, entry.refused) == (3, 0)


@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_engines_take_no_other(database_url: str, ours: Authority, others: Authority, wrong: str) -> None:
    certificate = others.sign("localhost") if wrong == "authority" else ours.sign("db.example.com")
    async with postgres(database_url, certificate) as entry:
        engine = create_engine(through(database_url, entry.port, ours))
        with pytest.raises(OperationalError, match="certificate"):
            async with engine.connect():
                pass
        await engine.dispose()
        with pytest.raises(DatabaseUnavailable):
            await backup.back_up(through(database_url, entry.port, ours), ours.folder / "kept")


def almanac(url: str, home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    said = {
        "PATH": os.environ["PATH"], "HOME": str(home), "ALMANAC_HOME": str(home), "PYTHONPATH": str(ROOT),
        "ALMANAC_DATABASE_URL": url, **more,
    }  # fmt: skip
    command = [sys.executable, "-m", "bot.terminal", *words]
    return subprocess.run(command, env=said, cwd=home, capture_output=True, text=True, timeout=120, check=False)


async def test_migrations_run_by_tls_as_the_job_runs_them(
    postgres_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    with fresh_database(postgres_url, "template1") as empty:
        async with postgres(empty, ours.sign("localhost")) as entry:
            url = through(empty, entry.port, ours)
            done = await asyncio.to_thread(almanac, url, tmp_path, "migrate", "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["after"] == head()
            refused = await asyncio.to_thread(almanac, through(empty, entry.port, others), tmp_path, "migrate")
            assert refused.returncode == 1
            assert "Traceback" not in refused.stderr


async def test_the_systems_authorities_are_those_that_the_images_name(
    database_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    """As on Azure: ``sslrootcert=system`` is what SSL_CERT_FILE names, also to the libpq that psycopg brings along."""
    file = environment("bot")["SSL_CERT_FILE"]
    assert file == environment("worker")["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    azure = (INFRA / "terraform/azure/variables.tf").read_text()
    assert 'default     = "sslmode=verify-full&sslrootcert=system"' in azure
    async with postgres(database_url, ours.sign("localhost")) as entry:
        url = through(database_url, entry.port, ours).partition("sslrootcert=")[0] + "sslrootcert=system"
        done = {
            name: await asyncio.to_thread(almanac, url, tmp_path, *words, SSL_CERT_FILE=str(authority.file))
            for name, authority, words in (
                ("migrated", ours, ("migrate",)), ("refused", others, ("migrate",)),
                ("kept", ours, ("backup", str(tmp_path / "kept"))),
            )
        }  # fmt: skip
    assert [it.returncode for it in done.values()] == [0, 1, 0], done
    assert (tmp_path / "kept").stat().st_size > 0


async def test_a_backup_goes_out_and_comes_back_by_tls(
    database_url: str, postgres_url: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    """``pg_dump`` and ``pg_restore`` are programs of their own, and hold to the same authority."""
    certificate = ours.sign("localhost")
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO sources (kind, location, name) VALUES ('git', 'x', 'wiki')")
    async with postgres(database_url, certificate) as entry:
        kept = await backup.back_up(through(database_url, entry.port, ours), tmp_path / "kept")
        before = entry.opened
        with pytest.raises(backup.BackupError, match="certificate verify failed"):
            await backup._run("pg_dump", through(database_url, entry.port, others), f"--file={tmp_path / 'no'}")
        assert entry.opened == before
    assert kept.rows["sources"] == 1
    with fresh_database(postgres_url, "template1") as empty:
        async with postgres(empty, certificate) as entry:
            restored = await backup.restore(through(empty, entry.port, ours), tmp_path / "kept")
        assert restored.rows == kept.rows


@asynccontextmanager
async def valkey(redis_url: str, certificate: Path) -> AsyncIterator[Door]:
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    async with door(certificate, lambda: asyncio.open_connection("127.0.0.1", port)) as found:
        yield found


def by_tls(port: int, authority: Authority | None, host: str = "localhost") -> str:
    named = f"?ssl_ca_certs={quote(str(authority.file))}" if authority else ""
    return f"rediss://:secret@{host}:{port}/3{named}"


async def test_the_queue_is_held_to_its_certificate_and_its_name(
    redis_url: str, ours: Authority, others: Authority
) -> None:
    async with valkey(redis_url, ours.sign("localhost")) as entry:
        pool = await connect(by_tls(entry.port, ours).replace(":secret@", ""))
        assert await pool.ping()
        await pool.aclose()
        assert entry.opened == 1
        for url in (by_tls(entry.port, others), by_tls(entry.port, None)):  # the system's authorities know it not
            with pytest.raises(QueueUnavailable):
                await connect(url)
        assert entry.opened == 1
    async with valkey(redis_url, ours.sign("cache.example.com")) as entry:
        with pytest.raises(QueueUnavailable):
            await connect(by_tls(entry.port, ours))
        assert entry.opened == 0


async def test_runs_are_asked_for_by_tls(redis_url: str, ours: Authority) -> None:
    async with valkey(redis_url, ours.sign("localhost")) as entry:
        url, run_id = by_tls(entry.port, ours).replace(":secret@", ""), uuid.uuid4()
        queue = RunQueue(url)
        await queue.enqueue(run_id)
        await queue.close()
        pool = await connect(url)
        assert await pool.zscore(QUEUE, f"run:{run_id}") is not None
        await pool.zrem(QUEUE, f"run:{run_id}")
        await pool.aclose()


def test_what_is_not_tls_stays_so() -> None:
    plain = redis_settings("redis://localhost:6379/2")
    assert (plain.ssl, plain.ssl_check_hostname, plain.ssl_ca_certs, plain.database) == (False, False, None, 2)
    cloud = redis_settings("rediss://:token@master.almanac.example.com:6379/0")
    assert (cloud.ssl, cloud.ssl_check_hostname, cloud.ssl_ca_certs) == (True, True, None)
    assert cloud.ssl_cert_reqs == "required"
