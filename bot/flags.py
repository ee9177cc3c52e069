"""Flags that many commands of the terminal have."""

from __future__ import annotations

from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")]
