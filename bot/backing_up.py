"""``almanac backup`` and ``almanac restore``: the database in one file, and back into an empty one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from assistant.database.backup import BackupError, Kept, back_up
from assistant.database.backup import restore as restored
from assistant.embedded import embedded_postgres
from assistant.settings import Settings
from bot import console as show
from bot import state
from bot.backend import command_settings, open_database
from bot.flags import JsonFlag

FileArgument = Annotated[Path, typer.Argument(help="The backup; FILE.json beside it says what is in it.")]


def backup(file: FileArgument, json: JsonFlag = False) -> None:
    """Write the database to one file, while questions go on. Keep FILE.json with it."""
    settings = command_settings()
    with show.error_console().status("Backing up"):
        kept = asyncio.run(_back_up(settings, file))
    _tell(kept, file, json, "Kept")


def restore(file: FileArgument, json: JsonFlag = False) -> None:
    """Fill an empty database from a backup: a new ALMANAC_HOME, or the database that ALMANAC_DATABASE_URL names."""
    settings = command_settings()
    with show.error_console().status("Restoring"):
        kept = asyncio.run(_restore(settings, file))
    _tell(kept, file, json, "Restored")


async def _back_up(settings: Settings, file: Path) -> Kept:
    async with open_database(settings) as url:
        return await back_up(url, file)


async def _restore(settings: Settings, file: Path) -> Kept:
    if settings.database_url is not None:
        return await restored(settings.database_url.get_secret_value(), file)
    if state.find(settings.home) is not None:
        raise BackupError(f"Almanac runs in {settings.home}; set ALMANAC_HOME to a new folder to restore into.")
    with embedded_postgres(settings.home.resolve()) as url:
        return await restored(url, file)


def _tell(kept: Kept, file: Path, json: bool, done: str) -> None:
    if json:
        show.print_json({"file": str(file), **kept.as_json()})
        return
    console = Console(highlight=False)
    console.print(Text(f"{done}: {kept.total:,} rows of {len(kept.rows)} tables, {kept.bytes / 1e6:,.1f} MB."))
    for name, count in _largest(kept):
        console.print(Text(f"  {name:<22} {count:>12,}", style="dim"))


def _largest(kept: Kept) -> list[tuple[str, Any]]:
    return sorted(((name, count) for name, count in kept.rows.items() if count), key=lambda row: -row[1])[:8]
