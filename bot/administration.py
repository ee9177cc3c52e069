"""``almanac sources``, ``almanac runs`` and ``almanac forget``: what is read, how it goes, and what is to be gone.

``mount`` adds them to the command ``almanac``.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.commands import places
from assistant.commands.changing import add_source
from assistant.commands.places import BadPlace, Place
from assistant.database import failures, runs, sources
from assistant.errors import AlmanacError, NotFound
from assistant.settings import Settings
from assistant.strings import say
from bot import administration_work as common
from bot import console as show
from bot.administration_tables import show_failures, show_runs, show_sources
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag, YesFlag

sources_app = typer.Typer(help="Where documents come from: list, add, read again, remove.", no_args_is_help=True)
runs_app = typer.Typer(help="What the workers did and could not do; try it again.", invoke_without_command=True)
WaitFlag = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
SHOWN = 20


@sources_app.command("list", epilog="Examples: almanac sources list  ·  almanac sources list --json")
def list_sources(json: JsonFlag = False) -> None:
    """Every source: how many documents, what failed, when it was read last and is read next."""

    async def find(settings: Settings) -> list[sources.SourceRow]:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return await sources.listed(session)

    found = common.run(find(command_settings()))
    if json:
        show.print_json({"sources": [_as_json(row) for row in found]})
    else:
        show_sources(Console(highlight=False), found)


def _as_json(row: sources.SourceRow) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "cursor"}


@sources_app.command(
    "add",
    epilog="Examples: almanac sources add ~/handbook  ·  almanac sources add website https://docs.example.com/ every=30"
    "  ·  almanac sources add git https://git.example.com/handbook.git branch=main credential=docs  ·  "
    "almanac sources add confluence https://acme.atlassian.net spaces=ENG,OPS  ·  almanac sources add github "
    "acme/ferry parts=docs,issues  ·  almanac sources add sharepoint https://acme.sharepoint.com/sites/Eng",
)
def add(
    place: Annotated[
        list[str],
        typer.Argument(metavar="[KIND] LOCATION [OPTION=VALUE]...", help=f"Kinds: {', '.join(places.KINDS)}."),
    ],
    wait: WaitFlag = True,
    json: JsonFlag = False,
) -> None:
    """Add a source, read it, and keep it in step from then on."""
    settings, wanted = command_settings(), _place(place)

    async def begin(session: AsyncSession) -> tuple[uuid.UUID, dict[str, Any]]:
        source_id, new = await add_source(session, wanted)
        await common.record(session, "sources add", wanted.location)
        run_id, _ = await runs.request(session, "ingest", source_id)
        return run_id, {"source": source_id, "new": new}

    common.work(settings, begin, wait, json)


def _place(words: list[str]) -> Place:
    try:
        place = places.read(" ".join(_absolute(words)))
    except BadPlace as error:
        raise AlmanacError(say(f"commands.{error.key}", "en", **error.values)) from None
    if place.kind == "folder" and not Path(place.location).is_dir():
        raise AlmanacError(f"{place.location} is no folder on this machine.")
    return place


def _absolute(words: list[str]) -> list[str]:
    """A path as people type it, where a place on this machine is meant."""
    at = 1 if len(words) > 1 and words[0].lower() in places.KINDS else 0
    local = at == 0 or words[0].lower() in ("folder", "git")
    if local and "://" not in words[at] and Path(words[at]).expanduser().exists():
        words = [*words[:at], str(Path(words[at]).expanduser().resolve()), *words[at + 1 :]]
    return words


@sources_app.command("sync", epilog="Examples: almanac sources sync 3  ·  almanac sources sync 3 --compare --json")
def sync(
    number: Annotated[int, typer.Argument(help="The source's number, as `almanac sources list` shows it.")],
    compare: Annotated[bool, typer.Option("--compare", help="Compare all of it, as every night.")] = False,
    wait: WaitFlag = True,
    json: JsonFlag = False,
) -> None:
    """Read a source again, now: only what has changed."""
    settings = command_settings()

    async def begin(session: AsyncSession) -> tuple[uuid.UUID, dict[str, Any]]:
        row = await _source(session, number)
        if row.kind == "upload":
            raise AlmanacError(say("commands.source_fixed", "en"))
        await common.record(session, "sources sync", row.location)
        run_id, _ = await runs.request(session, "reconcile" if compare else "ingest", row.id)
        return run_id, {"source": row.id}

    common.work(settings, begin, wait, json)


@sources_app.command("remove", epilog="Examples: almanac sources remove 3  ·  almanac sources remove 3 --yes --json")
def remove(
    number: Annotated[int, typer.Argument(help="The source's number, as `almanac sources list` shows it.")],
    yes: YesFlag = False,
    wait: WaitFlag = True,
    json: JsonFlag = False,
) -> None:
    """Remove a source and all its documents."""
    settings = command_settings()

    async def look() -> sources.SourceRow:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return await _source(session, number)

    row = common.run(look())
    common.confirm(f"Remove the source {row.name} with its {row.documents} documents?", yes)

    async def begin(session: AsyncSession) -> tuple[uuid.UUID, dict[str, Any]]:
        await common.record(session, "sources remove", row.location, {"documents": row.documents})
        run_id, _ = await runs.request(session, "remove_source", row.id)
        return run_id, {"source": row.id}

    common.work(settings, begin, wait, json)


async def _source(session: AsyncSession, number: int) -> sources.SourceRow:
    found = await sources.listed(session, number)
    if not found:
        raise NotFound(f"There is no source {number}.")
    return found[0]


@runs_app.callback(epilog="Examples: almanac runs  ·  almanac runs --json  ·  almanac runs retry")
def list_runs(context: typer.Context, json: JsonFlag = False) -> None:
    """The last runs, and the documents that could not be read: why, how often it was tried, when it is tried next."""
    if context.invoked_subcommand is not None:
        return

    async def find(settings: Settings) -> tuple[list[runs.RunRow], list[failures.FailureRow]]:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return await runs.recent(session, SHOWN), await failures.failures_listed(session, 1_000 if json else SHOWN)

    found, failed = common.run(find(command_settings()))
    if json:
        rows = [{name: value for name, value in asdict(run).items() if name != "checkpoint"} for run in found]
        show.print_json({"runs": rows, "failures": [asdict(failure) for failure in failed]})
        return
    console = Console(highlight=False)
    show_runs(console, found)
    show_failures(console, failed)


@runs_app.command("list", epilog="Example: almanac runs list --json")
def list_runs_too(context: typer.Context, json: JsonFlag = False) -> None:
    """The same as `almanac runs`."""
    context.invoked_subcommand = None
    list_runs(context, json)


@runs_app.command("retry", epilog="Examples: almanac runs retry  ·  almanac runs retry 3f9a12c4 --json")
def retry(
    run: Annotated[str, typer.Argument(help="A failed run; without one, every document that could not be read.")] = "",
    wait: WaitFlag = True,
    json: JsonFlag = False,
) -> None:
    """Try a failed run again, or every document that failed."""
    settings = command_settings()
    if run:
        common.work(settings, lambda session: _retry_run(session, run), wait, json)
        return

    async def every() -> list[int]:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return [row.id for row in await sources.listed(session) if row.failures]

    results: list[dict[str, Any]] = []
    for source_id in common.run(every()):

        async def begin(session: AsyncSession, source_id: int = source_id) -> tuple[uuid.UUID, dict[str, Any]]:
            await common.record(session, "runs retry", f"failures of source {source_id}")
            run_id, _ = await runs.request(session, "ingest", source_id, failures="all")
            return run_id, {"source": source_id}

        results.append(common.run(common.worked(settings, begin, wait, json)))
        common.tell(results[-1], json)
    if json:
        show.print_json({"retried": results})
    elif not results:
        show.error_console().print("Nothing has failed.")


async def _retry_run(session: AsyncSession, number: str) -> tuple[uuid.UUID, dict[str, Any]]:
    found = await runs.by_prefix(session, number.lower())
    if found is None:
        raise NotFound(f"There is no run {number}.")
    if not await runs.retry(session, found.id):
        raise AlmanacError(say("commands.run_not_failed", "en", number=found.id.hex[:8]))
    await common.record(session, "runs retry", str(found.id))
    return found.id, {}


def forget(
    document: Annotated[str, typer.Argument(help="#number, address, external id or title.")],
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Remove one document for good: its passages and vectors, and the words of answers that cite it; no sync brings
    it back."""
    settings = command_settings()

    async def look() -> list[sources.Named]:
        async with open_sessions(settings) as (sessions, _), sessions() as session:
            return await sources.named(session, document.strip())

    found = common.run(look())
    if not found:
        raise NotFound(say("commands.no_document", "en", words=document[:200]))
    if len(found) > 1:
        several = ", ".join(f"#{one.id} ({one.title})" for one in found)
        raise AlmanacError(f"Several documents go by “{document[:200]}”; name one by its number: {several}.")
    common.confirm(f"Remove “{found[0].title}” for good?", yes)

    async def remove_it() -> int:
        async with open_sessions(settings) as (sessions, _), sessions.begin() as session:
            answers = await sources.forget(session, found[0], common.person())
            details = {"title": found[0].title, "answers": answers}
            await common.record(session, "forget", found[0].external_id, details)
            return answers

    answers = common.run(remove_it())
    if json:
        show.print_json({"forgotten": asdict(found[0]), "answers": answers})
    else:
        show.error_console().print(f"{found[0].title} is gone. Answers that lost their words: {answers}.")
