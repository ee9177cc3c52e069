"""Commands of the terminal for Teams: ``almanac teams package`` and ``almanac playground teams``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from assistant.errors import AlmanacError
from assistant.settings import load_settings

teams = typer.Typer(name="teams", help="Microsoft Teams: the app package.", no_args_is_help=True)
playground = typer.Typer(name="playground", help="Try Almanac without an account.", no_args_is_help=True)


@teams.callback()
def _teams() -> None:
    """Microsoft Teams: the app package."""


@playground.callback()
def _playground() -> None:
    """Try Almanac without an account."""


@teams.command(epilog="Examples: almanac teams package  ·  almanac teams package --out almanac.zip --all-messages")
def package(
    out: Annotated[Path, typer.Option(help="Where to write the zip.")] = Path("almanac-teams.zip"),
    all_messages: Annotated[
        bool, typer.Option("--all-messages", help="Ask to hear messages that do not mention the bot, too.")
    ] = False,
    private_commands: Annotated[
        bool, typer.Option("--private-commands", help="Offer the commands by / as well, seen by their caller alone.")
    ] = False,
) -> None:
    """Build the app package: upload it in Teams under Apps, Manage your apps, Upload an app."""
    from bot.teams.package import NO_WEBSITE, build_package

    settings = load_settings()
    content = build_package(settings, private_commands=private_commands, all_messages=all_messages)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise AlmanacError(f"{out} cannot be written ({error.strerror}).") from None
    console = Console(highlight=False)
    console.print(Text(f"Wrote {out} ({len(content):,} bytes)."))
    if not (settings.public_url or "").startswith("https://"):
        console.print(Text(f"ALMANAC_PUBLIC_URL is no https address, so the links of the app lead to {NO_WEBSITE}."))


@playground.command("teams", epilog="Examples: almanac playground teams  ·  almanac playground teams --port 56200")
def playground_teams(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Playground.")] = 56150,
) -> None:
    """Talk to Almanac in Microsoft's Agents Playground: Teams as it looks, with no account. Ctrl-C stops all of it."""
    from bot.teams.playground import run

    os.environ["ALMANAC_TEAMS_ANONYMOUS"] = "1"  # for the processes that are started, too
    asyncio.run(run(load_settings(), port))
