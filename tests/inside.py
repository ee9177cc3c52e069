"""Commands of the terminal in the tests' own process, which has loaded by now what each process loads for seconds."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from assistant.errors import AlmanacError
from bot.terminal import app

Ended = subprocess.CompletedProcess[str]


def almanac(*arguments: str, cwd: Path, given: str | None = None, **environment: str) -> Ended:
    """What ``almanac`` would print and exit with; ``given`` is its standard input."""
    with contextlib.chdir(cwd):
        ran = CliRunner().invoke(app, list(arguments), input=given, env={"COLUMNS": "120", **environment})
    errors, code = ran.stderr, ran.exit_code
    if isinstance(ran.exception, AlmanacError):  # which `bot.terminal.main` prints, and exits with 1
        errors += f"{ran.exception}\n"
    elif isinstance(ran.exception, KeyboardInterrupt):
        code = 130
    elif ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Ended(list(arguments), code, ran.stdout, errors)
