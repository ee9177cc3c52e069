"""``almanac learn``: the lessons, which stand alone."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

app = typer.Typer()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: almanac learn  ·  almanac learn 4 --read  ·  almanac learn 4 --quick",
)
def learn(
    context: typer.Context,
    week: Annotated[str | None, typer.Argument(help="1 to 12; without one: the list of the weeks.")] = None,
    read: Annotated[bool, typer.Option("--read", help="Show the week's page, with its exercises.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Its experiment, small: about a minute.")] = False,
) -> None:
    """The twelve weeks of foundations: list them, read one, or run its experiment. Other options are its own."""
    # A process of its own: nothing of ours imports ml, and -P keeps the folder that the reader happens to be in from
    # shadowing it.
    given = [*([week] if week else []), *(["--read"] if read else []), *(["--quick"] if quick else [])]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ml", *given, *context.args])  # noqa: S606 - the arguments are the reader's
