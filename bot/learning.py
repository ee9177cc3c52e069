"""``almanac learn``: the lessons, which stand alone."""

from __future__ import annotations

import os
import sys

import typer

app = typer.Typer()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: almanac learn  ·  almanac learn 4 --read  ·  almanac learn 4 --quick",
)
def learn(context: typer.Context) -> None:
    """The twelve weeks of foundations: list them, read one, or run its experiment ([WEEK] [--read | --quick])."""
    # A process of its own: nothing of ours imports ml, and -P keeps the folder that the reader happens to be in from
    # shadowing it.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ml", *context.args])  # noqa: S606 - the arguments are the reader's
