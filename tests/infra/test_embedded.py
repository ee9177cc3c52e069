"""The embedded Postgres and Valkey after a crash, and where their folder has an odd name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from assistant import cluster
from assistant.database.backup import back_up, restore
from assistant.database.migrate import upgrade
from assistant.database.session import create_engine
from assistant.embedded import EmbeddedPostgres, embedded_postgres, embedded_valkey
from tests.conftest import in_memory

PID = """{pid}
{data}
1712346200
5432
{data}

  8826964     65536
ready
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a socket's path is short, and every user may go."""
    folder = Path(tempfile.mkdtemp(prefix="almanac-", dir=in_memory()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def another() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the number of a server that a crash of the machine ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def make(home: Path) -> Path:
    with embedded_postgres(home) as url:
        assert answers(url)
    return home / "postgres"


def test_a_process_that_has_the_number_of_a_server_that_crashed_is_no_server(
    home: Path, another: subprocess.Popen[bytes]
) -> None:
    data = make(home)
    (data / "postmaster.pid").write_text(PID.format(pid=another.pid, data=data))
    with embedded_postgres(home) as url:
        assert answers(url)
    assert another.poll() is None


def test_nobody_is_stopped_in_place_of_a_server_that_is_gone(home: Path, another: subprocess.Popen[bytes]) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    data = home / "postgres"
    running = cluster.server_of(data)
    assert running is not None
    running.kill()
    running.wait()
    (data / "postmaster.pid").write_text(PID.format(pid=another.pid, data=data))
    server.stop()
    assert another.poll() is None


@pytest.mark.parametrize("left", ["", "99999\n", "no number\n", "99999999999999999999\n"])
def test_a_lock_that_was_not_written_whole_is_no_lock(home: Path, left: str) -> None:
    data = make(home)
    (data / "postmaster.pid").write_text(left)
    assert make(home) == data


def test_a_server_that_was_killed_with_its_processes_at_work_is_started_again(home: Path) -> None:
    with embedded_postgres(home) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        running = cluster.server_of(home / "postgres")
        assert running is not None
        running.kill()
        running.wait()
        with embedded_postgres(home) as again, psycopg.connect(again) as other:
            assert other.execute("SELECT number FROM kept").fetchone() == (1,)


def test_a_folder_whose_making_was_killed_is_made_anew(home: Path) -> None:
    """Killed as the machine's crash or ``kill -9`` would, at some moment between its first file and its last."""
    code = "import sys; from pathlib import Path; from assistant.embedded import EmbeddedPostgres as E;"
    code += "E(Path(sys.argv[1])).start()"
    data = home / "postgres"
    process = subprocess.Popen([sys.executable, "-c", code, str(home)], stderr=subprocess.DEVNULL)
    while not (data / "PG_VERSION").exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert make(home) == data


def test_what_a_server_ever_worked_on_is_kept(home: Path) -> None:
    data = make(home)
    (data / "almanac.conf").unlink()
    cluster.clear_half_made(data)
    assert (data / "global" / "pg_control").exists()


@pytest.mark.parametrize("name", ["my home", "q'uote", "plus+ 20%20", "hash#é"])
async def test_a_folder_may_have_any_name(home: Path, name: str) -> None:
    folder = home / name
    with embedded_valkey(folder) as url, contextlib.closing(redis.Redis.from_url(url)) as queue:
        assert queue.ping()
    file = folder / "kept.backup"
    for place, work in ((folder, back_up), (home / f"{name} again", restore)):
        with embedded_postgres(place) as url:
            assert answers(url)
            if work is back_up:
                engine = create_engine(url, pool_size=1)
                await upgrade(engine)
                await engine.dispose()
            assert (await work(url, file)).total > 0


@pytest.mark.parametrize(
    ("pattern", "left"),
    [("*.incr.aof", b"*3\r\n$3\r\nSET\r\n" + bytes(4_096)), ("*.manifest", b""), ("*.base.rdb", b"no")],
)
def test_a_queue_whose_log_cannot_be_read_begins_anew(home: Path, pattern: str, left: bytes) -> None:
    with embedded_valkey(home) as url, contextlib.closing(redis.Redis.from_url(url)) as queue:
        queue.set("kept", "1")
    (file,) = (home / "valkey" / "appendonlydir").glob(f"appendonly.aof*{pattern.removeprefix('*')}")
    file.write_bytes(left)
    for _ in range(2):
        with embedded_valkey(home) as url, contextlib.closing(redis.Redis.from_url(url)) as queue:
            assert queue.get("kept") is None
    assert (home / "valkey" / "appendonlydir.damaged").is_dir()


def test_nobody_is_left(home: Path) -> None:
    data = make(home)
    at_work = [process for process in psutil.process_iter() if cluster._works_on(process, data)]
    assert at_work == []
