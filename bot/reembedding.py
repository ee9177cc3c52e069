"""``almanac reembed``: another embedding model, made beside the one that answers, switched to, and gone back from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.knowledge import reembedding
from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings, open_sessions
from bot.worker_process import Watch, work_off

PACKAGED = "packaged"  # --model packaged: the one that Almanac comes with

app = typer.Typer(
    help="Change the embedding model while questions go on: build, switch, and go back.",
    epilog=(
        "Examples: almanac reembed --model models/e5-small  ·  almanac reembed --switch  ·  almanac reembed --back  ·  "
        "almanac reembed --drop all-MiniLM-L6-v2"
    ),
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def reembed(
    model: Annotated[
        str | None,
        typer.Option(help=f"Folder of the new model ('{PACKAGED}': Almanac's own); goes on where it stopped."),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="The models, and how far each is.")] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Let the new model answer; with --model, once it is built.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Let the model answer again that did before.")] = False,
    drop: Annotated[str | None, typer.Option(help="Remove a model that does not answer, and its vectors.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """Change the embedding model while questions go on: build it with --model, then --switch; --back undoes that."""
    if sum((back, drop is not None, model is not None or switch)) > 1:
        raise AlmanacError("Do one thing at a time: --model with or without --switch, --back, or --drop.")
    if model not in (None, PACKAGED) and not Path(str(model)).is_dir():
        raise AlmanacError(f"{model} is no folder.")
    settings = command_settings()
    states = asyncio.run(_reembed(settings, model, switch, back, drop))
    if json:
        show.print_json({"models": [_row(state) for state in states]})
    else:
        Console(highlight=False).print(_table(states))


async def _reembed(
    settings: Settings, model: str | None, switch: bool, back: bool, drop: str | None
) -> list[reembedding.ModelState]:
    async with open_sessions(settings) as (sessions, url):
        built = None
        if model is not None:
            built = await _build(url, sessions, settings, None if model == PACKAGED else model)
        if switch:
            _tell(f"{(await reembedding.switch(sessions, built)).name} answers from now on.")
        elif back:
            _tell(f"{(await reembedding.back(sessions)).name} answers again.")
        elif drop is not None:
            await reembedding.drop(sessions, drop)
            _tell(f"{drop} is gone.")
        elif built is not None:
            _tell(f"{built} is complete; `almanac reembed --switch` lets it answer.")
        return await reembedding.states(sessions)


async def _build(url: str, sessions: Sessions, settings: Settings, folder: str | None) -> str:
    """Register the model, and work off the run that fills it; returns its name."""
    model = await reembedding.register(sessions, folder, settings.model_threads)
    with show.ingest_bar(show.error_console()) as bar:
        task = bar.add_task(f"Embedding with {model.name}", total=None, detail="")
        watch: Watch = lambda run: show.update_bar(bar, task, run.progress)  # noqa: E731 - one expression, one use
        async with sessions.begin() as session:
            run_id = await runs.create(session, reembedding.RUN, {"model": model.name})
        run = await work_off(url, sessions, run_id, watch)
    if run.state != "succeeded":
        raise AlmanacError(run.error or "The run did not finish; `almanac reembed --model` goes on where it stopped.")
    return model.name


def _tell(sentence: str) -> None:
    show.error_console().print(Text(sentence, style="green"))


def _row(state: reembedding.ModelState) -> dict[str, Any]:
    model = state.model
    return {
        "name": model.name, "state": model.state, "dimensions": model.dimensions, "folder": model.folder,
        "vectors": state.vectors, "token_vectors": state.tokens, "lacking": state.lacking,
        "activated_at": model.activated_at,
    }  # fmt: skip


def _table(states: list[reembedding.ModelState]) -> Table:
    table = Table("Model", "State", box=None, pad_edge=False)
    for column in ("Dimensions", "Vectors", "Of tokens", "Lacking"):
        table.add_column(column, justify="right")
    for state in states:
        model = state.model
        numbers = (str(model.dimensions), f"{state.vectors:,}", f"{state.tokens:,}", f"{state.lacking:,}")
        table.add_row(model.name, model.state, *numbers, style="bold green" if model.state == "active" else "")
    return table
