"""``almanac preferences``: what was learned from votes, what it changes, and who decides about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import preferences as rows
from assistant.errors import AlmanacError
from assistant.preferences import showing
from assistant.settings import Settings
from bot import administration_work as common
from bot import console as show
from bot import preferences_show as shown
from bot import working
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag

app = typer.Typer(
    name="preferences",
    help="What was learned from votes: learn, see what it changes, promote, try on a share, take back.",
    epilog="Examples: almanac preferences  ·  almanac preferences learn  ·  almanac preferences report --plot votes.png"
    "  ·  almanac preferences rollback",
    rich_markup_mode="rich",
)
Number = Annotated[int, typer.Argument(help="The version, as `almanac preferences` shows it.")]
T = TypeVar("T")


@app.callback(invoke_without_command=True)
def preferences(context: typer.Context, json: JsonFlag = False) -> None:
    """What was learned from votes: learn, see what it changes, promote, try on a share, take back."""
    if context.invoked_subcommand is None:
        status(json)


@app.command("status", epilog="Examples: almanac preferences status  ·  almanac preferences status --json")
def status(json: JsonFlag = False) -> None:
    """Which version orders the passages, the versions there are, and the votes since."""
    settings = command_settings()
    found = _read(settings, lambda session: showing.status(session, settings))
    if json:
        show.print_json(found)
    else:
        shown.status(Console(highlight=False), found)


@app.command("learn", epilog="Examples: almanac preferences learn  ·  almanac preferences learn --json")
def learn(json: JsonFlag = False) -> None:
    """Learn from the votes now, put what was learned to the test, and let it order passages if it is a proven gain."""
    result = asyncio.run(_learn(command_settings()))
    if json:
        show.print_json(result)
    else:
        shown.learned(Console(highlight=False), result)


async def _learn(settings: Settings) -> dict[str, Any]:
    async with open_sessions(settings) as (sessions, url):
        async with sessions.begin() as session:
            run_id, _ = await rows.request(session)
            await common.record(session, "preferences learn", "")
        with show.ingest_bar(show.error_console()) as bar:
            task = bar.add_task("Asking the voted questions again", total=None, detail="")
            ended = await working.work_off(
                settings, url, sessions, run_id,
                lambda run: bar.update(task, total=run.progress.get("total"), completed=run.progress.get("done", 0)),
            )  # fmt: skip
        if ended.state != "succeeded" or ended.result is None:
            raise AlmanacError(ended.error or "The run did not finish.")
        names = ("version", "state", "reason", "votes", "voters", "pairs")
        result: dict[str, Any] = {"run": str(run_id), **{name: ended.result.get(name) for name in names}}
        if result["version"] is not None:
            async with sessions() as session:
                result |= showing.version_json(await rows.find(session, result["version"]))
        return result


@app.command(
    "report",
    epilog="Examples: almanac preferences report  ·  almanac preferences report 4 --plot votes.png  ·  "
    "almanac preferences report --json",
)
def report(
    number: Annotated[int | None, typer.Argument(help="The version; default: the newest.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture (.png, .svg, .pdf).")] = None,
    json: JsonFlag = False,
) -> None:
    """What a version is worth on votes that it was not learned from, and which questions' first passages it changes."""
    found = _read(command_settings(), lambda session: showing.report(session, number))
    if plot is not None:
        from assistant.preferences.plot import draw  # matplotlib takes a second to import

        draw(found, plot)
    if json:
        show.print_json(found)
    else:
        shown.report(Console(highlight=False), found)


@app.command("promote", epilog="Example: almanac preferences promote 4")
def promote(number: Number, json: JsonFlag = False) -> None:
    """Let a version order all questions' passages; one that was refused cannot."""
    version = _change(lambda session: rows.promote(session, number), "promote", str(number))
    _told(showing.version_json(version), f"Version {number} orders the passages from now on.", json)


@app.command("canary", epilog="Example: almanac preferences canary 4 --share 0.1")
def canary(
    number: Number,
    share: Annotated[
        float | None, typer.Option(min=0.001, max=0.5, help="Of the conversations; default: the settings' share.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Try a version on a share of the conversations."""
    part = command_settings().preferences_share if share is None else share
    version = _change(lambda session: rows.canary(session, number, part), "canary", str(number), share=part)
    _told(showing.version_json(version), f"Version {number} orders the passages of {part:.1%} of conversations.", json)


@app.command("rollback", epilog="Examples: almanac preferences rollback  ·  almanac preferences rollback --all")
def rollback(
    everything: Annotated[bool, typer.Option("--all", help="Until nothing that was learned has a say.")] = False,
    json: JsonFlag = False,
) -> None:
    """Take back the last step: the canary, or else the promoted version; the one before it is in force again."""
    if everything:
        off = _change(rows.switch_off, "rollback", "all")
        _told({"taken_back": off, "promoted": None}, "Votes have no say in the order of passages now.", json)
        return
    taken, now = _change(rows.rollback, "rollback", "")
    then = "the ranking alone orders the passages" if now is None else f"version {now} orders the passages"
    _told({"taken_back": [taken], "promoted": now}, f"Version {taken} is taken back; {then}.", json)


def _read(settings: Settings, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async def read() -> T:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return await work(session)

    return asyncio.run(read())


def _change(work: Callable[[AsyncSession], Awaitable[T]], action: str, target: str, **details: Any) -> T:
    """In one transaction with its line in the audit."""

    async def change() -> T:
        async with open_sessions(command_settings()) as (sessions, _), sessions.begin() as session:
            done = await work(session)
            await common.record(session, f"preferences {action}", target, details)
            return done

    return asyncio.run(change())


def _told(document: dict[str, Any], sentence: str, json: bool) -> None:
    if json:
        show.print_json(document)
    else:
        show.error_console().print(Text(f"{sentence} Running processes follow within half a minute.", style="green"))
