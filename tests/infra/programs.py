"""Programs that tests ask and that come in no Python package: Prometheus' own, out of Debian's packages.

They are unpacked beside this environment, not installed: nothing is started, and no rights are needed. Where they
cannot be had, tests skip and say so.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import aiohttp
import pytest

FOLDER = Path(sys.prefix) / "debian"
PACKAGES = {
    "prometheus": "prometheus", "promtool": "prometheus", "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}  # fmt: skip
NAMES = {"alertmanager": "prometheus-alertmanager"}  # as Debian calls the program
SECONDS = 300.0


@cache
def program(name: str) -> str:
    """Where it is; skips the test where it is not to be had."""
    called = NAMES.get(name, name)
    found = shutil.which(called) or shutil.which(name)
    if found is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        FOLDER.mkdir(exist_ok=True)
        with (FOLDER / ".lock").open("w") as lock:  # processes of one run ask at the same time
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _unpacked(PACKAGES[name], called)
    if found is None:
        pytest.skip(f"{name} is not here (Debian has it in the package {PACKAGES[name]})")
    return found


def at_home(name: str) -> list[str]:
    """A command that runs it where it finds what its package has in /usr/share; skips where that is not to be had."""
    found = program(name)
    share = Path(found).parents[1] / "share"
    if share == Path("/usr/share"):
        return [found]
    private = 'mount -t tmpfs none /usr/share && cp -r "$0"/. /usr/share && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", private, str(share)]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"{name} needs the files of its package in /usr/share (apt-get install {PACKAGES[name]})")
    return [*command, found]


def _unpacked(package: str, called: str) -> str | None:
    path = FOLDER / "usr/bin" / called
    if path.exists():
        return str(path)
    with tempfile.TemporaryDirectory() as folder:
        for command in (["apt-get", "download", package], ["apt-get", "update"], ["apt-get", "download", package]):
            done = subprocess.run(
                [*command, "--quiet=2"], cwd=folder, capture_output=True, timeout=SECONDS, check=False
            )
            archives = list(Path(folder).glob("*.deb"))
            if done.returncode == 0 and archives:
                subprocess.run(["dpkg-deb", "--extract", archives[0], FOLDER], check=True, timeout=SECONDS)
                return str(path) if path.exists() else None
    return None


async def ready(client: aiohttp.ClientSession, address: str) -> bool:
    """Whether a program that is starting or stopping says so there."""
    try:
        async with client.get(address) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
