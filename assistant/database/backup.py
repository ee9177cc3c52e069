"""A database in one file, and back, by Postgres's own ``pg_dump`` and ``pg_restore``; a note says what must come back.

The note (``FILE.json``) counts the rows of each table in the very snapshot that the file is made of, and holds the
file's SHA-256. A restore is one transaction: it leaves the whole database as it was kept, or an empty one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url

from assistant.database import migrate
from assistant.database.session import create_engine, psycopg_url
from assistant.embedded import postgres_programs
from assistant.errors import AlmanacError, DatabaseUnavailable

_TABLES = """
    SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') ORDER BY relname"""
# The rights of this role are in the file, but roles are the whole server's, and no dump holds them.
_ROLE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'almanac_reader') THEN
            CREATE ROLE almanac_reader NOLOGIN;
        END IF;
        IF NOT pg_has_role(current_user, 'almanac_reader', 'SET') THEN
            EXECUTE format('GRANT almanac_reader TO %I', current_user);
        END IF;
    END $$"""


class BackupError(AlmanacError):
    """The file is damaged, or does not fit where it should go."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a backup holds. ``rows``: of each table; ``migration``: the revision that the database was at."""

    created_at: datetime
    migration: str
    rows: Mapping[str, int]
    bytes: int
    sha256: str

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "created_at": self.created_at, "migration": self.migration, "bytes": self.bytes, "sha256": self.sha256,
            "rows": dict(self.rows),
        }  # fmt: skip


async def back_up(url: str, file: Path) -> Kept:
    """Write the database to ``file`` (compressed, readable by its owner only) and what is in it to ``FILE.json``.

    Questions go on meanwhile. A file that is there already is replaced once the new one is whole.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.touch(mode=0o600)
        async with _snapshot(url) as (snapshot, migration, rows):
            await _run("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={part}")
        digest = await asyncio.to_thread(_sha256, part)
        kept = Kept(datetime.now(UTC), migration, rows, part.stat().st_size, digest)
        note = _note(part)
        note.write_bytes(orjson.dumps(kept.as_json(), option=orjson.OPT_INDENT_2))
        part.replace(file)
        note.replace(_note(file))
    except OSError as error:
        raise BackupError(f"{error.filename or file} cannot be written: {error.strerror}.") from error
    finally:
        for left in (part, _note(part)):
            left.unlink(missing_ok=True)
    return kept


async def restore(url: str, file: Path) -> Kept:
    """Fill an empty database from ``file``, compare it with its note, and migrate it to what this Almanac knows.

    Raises ``BackupError`` where the database is not empty, or the file is not what its note says: nothing is changed.
    """
    kept = await asyncio.to_thread(_read_note, file)
    async with _connected(url) as connection:
        tables = [name for (name,) in await (await connection.execute(_TABLES)).fetchall()]
        if tables:
            raise BackupError(
                f"The database is not empty (it has {len(tables)} tables); a backup is restored into an empty one."
            )
        await connection.execute(_ROLE)
    await _run("pg_restore", url, "--no-owner", "--exit-on-error", "--single-transaction", str(file))
    async with _connected(url) as connection:
        found = await _count(connection)
        await connection.execute("ANALYZE")
    different = sorted(name for name in found.keys() | kept.rows if found.get(name) != kept.rows.get(name))
    if different:
        raise BackupError(f"What was restored is not what was kept: the rows of {', '.join(different)} differ.")
    engine = create_engine(url, pool_size=1)
    try:
        await migrate.upgrade(engine)
    finally:
        await engine.dispose()
    return kept


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    try:
        connection = await psycopg.AsyncConnection.connect(_conninfo(url), autocommit=True, connect_timeout=5)
    except psycopg.Error as error:
        raise DatabaseUnavailable("Postgres cannot be reached.") from error
    try:
        yield connection
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"Postgres refused: {str(error).strip().splitlines()[0].rstrip('.')}.") from error
    finally:
        await connection.close()


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[tuple[str, str, dict[str, int]]]:
    """A snapshot that others can use while the block lasts; the migration and the rows of each table in it."""
    async with _connected(url) as connection:
        await connection.set_autocommit(False)
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        try:
            name = await (await connection.execute("SELECT pg_export_snapshot()")).fetchone()
            at = await (await connection.execute("SELECT version_num FROM alembic_version")).fetchone()
        except psycopg.errors.UndefinedTable:
            at = None
        if not at or not name:
            raise BackupError("The database holds no Almanac: it was never migrated.")
        yield name[0], at[0], await _count(connection)


async def _count(connection: psycopg.AsyncConnection[Any]) -> dict[str, int]:
    rows = {}
    for (table,) in await (await connection.execute(_TABLES)).fetchall():
        counted = await connection.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table)))
        rows[table] = (await counted.fetchone() or (0,))[0]
    return rows


async def _run(program: str, url: str, *arguments: str) -> None:
    """The password goes through the environment: everybody sees a command line."""
    given = {name: str(value) for name, value in conninfo_to_dict(_conninfo(url)).items()}
    environment = os.environ | {"PGAPPNAME": "almanac-backup"} | _speaking_tls()
    if password := given.pop("password", ""):
        environment["PGPASSWORD"] = password
    target = psycopg.conninfo.make_conninfo(**given)
    process = await asyncio.create_subprocess_exec(
        str(postgres_programs() / program), "--no-password", f"--dbname={target}", *arguments,
        env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    if process.returncode:
        reason = (said.decode(errors="replace").strip().splitlines() or ["no reason was given"])[0]
        raise BackupError(f"{reason.rstrip('.')}.")


@cache
def _speaking_tls() -> dict[str, str]:
    """The packaged programs' own libpq was built without TLS; psycopg's, of the same version, does their talking."""
    try:
        listed = files("psycopg-binary") or ()
    except PackageNotFoundError:
        return {}
    libpq = next((str(file.locate()) for file in listed if file.name.startswith("libpq-")), None)
    return {"LD_PRELOAD": libpq} if libpq and sys.platform == "linux" else {}


def _conninfo(url: str) -> str:
    """As libpq reads it: to SQLAlchemy, a + in a URL is a blank."""
    given = make_url(psycopg_url(url))
    _, options = given.get_dialect()().create_connect_args(given)
    return psycopg.conninfo.make_conninfo("", **options)


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _read_note(file: Path) -> Kept:
    note = _note(file)
    try:
        said = orjson.loads(note.read_bytes())
        kept = Kept(
            datetime.fromisoformat(said["created_at"]), str(said["migration"]),
            {str(name): int(count) for name, count in said["rows"].items()}, int(said["bytes"]), str(said["sha256"]),
        )  # fmt: skip
        digest = _sha256(file)
    except OSError as error:
        raise BackupError(f"{error.filename} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"{note} is no note of a backup.") from None
    if digest != kept.sha256:
        raise BackupError(f"{file} is damaged: its SHA-256 is not the one in {note.name}.")
    return kept


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
