"""``almanac ingest``: files and folders of this machine into the index."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from assistant.database import runs
from assistant.errors import AlmanacError
from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag
from bot.worker_process import Watch, work_off


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; a folder's deleted files leave the index.")],
    json: JsonFlag = False,
) -> None:
    """Read files or folders into the index, and wait until they can be asked about."""
    settings = command_settings()
    for path in paths:
        if not path.exists():
            raise AlmanacError(f"{path} does not exist.")
    err = show.error_console()
    with show.ingest_bar(err) as bar:
        task = bar.add_task("Reading", total=None, detail="")
        run = asyncio.run(_ingest(settings, paths, lambda run: show.update_bar(bar, task, run.progress)))
    if run.state != "succeeded" or run.result is None:
        raise AlmanacError(run.error or "The run did not finish.")
    if json:
        show.print_json(run.result)
    else:
        show.show_ingested(err, run.result)
    if run.result["failed"] and not any(run.result["documents"].values()):
        raise typer.Exit(1)  # nothing at all could be read


async def _ingest(settings: Settings, paths: list[Path], watch: Watch) -> runs.RunRow:
    """A run of its own, worked off beside us by a worker process: the files are on this machine."""
    arguments = {"paths": [str(path.resolve()) for path in paths]}
    async with open_sessions(settings) as (sessions, url):
        async with sessions.begin() as session:
            run_id = await runs.create(session, "ingest", arguments)
        return await work_off(url, sessions, run_id, watch)
