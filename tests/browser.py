"""A browser for the page's tests. ``python -m tests.browser`` installs Debian's chromium where that is possible.

Playwright's own download is not used: the tests drive whatever Chromium the machine has. A machine without one still
passes; the browser tests then skip and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
INSTALL_SECONDS = 600


def browser_path() -> str | None:
    """The Chromium on the PATH, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def prepare() -> str:
    """Install Chromium if it is missing and we may; returns one sentence on how it stands. Never raises."""
    if path := browser_path():
        return f"The browser tests use {path}."
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return "There is no Chromium on the PATH, so the browser tests are skipped; install chromium to run them."
    try:
        _install()
    except (OSError, subprocess.SubprocessError) as error:
        return f"Chromium could not be installed ({type(error).__name__}), so the browser tests are skipped."
    path = browser_path()
    return f"Installed {path} for the browser tests." if path else "The browser tests are skipped: no Chromium."


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", "chromium"]
    for command in (["apt-get", "update", "--quiet=2"], install):
        subprocess.run(
            command,
            check=True,
            env=environment,
            timeout=INSTALL_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    print(prepare())
