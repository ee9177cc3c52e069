"""``almanac eval answers``, and what is done with its runs; mounted beside ``almanac eval retrieval``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from assistant.database import evaluations
from assistant.settings import Settings
from bot import console as show
from bot import state
from bot.backend import command_settings, open_sessions
from bot.evaluating_answers import AnswersWanted, measure_answers
from bot.evaluating_runs import (
    CompareOption,
    Ends,
    HtmlOption,
    LossOption,
    MayCompare,
    finish,
    keep,
    stoppable,
)
from bot.evaluating_safety import PARTS, SafetyWanted, measure_safety
from bot.evaluating_show import show_runs
from bot.evaluating_tools import ToolsWanted, measure_tools
from bot.flags import JsonFlag
from bot.local_model import local_model

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    cls=MayCompare,
    epilog="Examples: almanac eval answers  ·  almanac eval answers cases.jsonl --compare  ·  "
    "almanac eval answers mtrag_cloud/ --html report.html --max-loss 0.02",
)
def answers(
    path: Annotated[
        Path | None,
        typer.Argument(help="Cases (JSON Lines), or a folder with corpus and queries; default: the sample's."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a folder: the judgements of this name.")] = None,
    field: Annotated[
        str, typer.Option(help="Of a folder: the field that is asked; last_turn comes with the turns before it.")
    ] = "text",
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only so many, evenly spread.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="Questions at a time; latency is that of one.")] = 1,
    judge: Annotated[bool, typer.Option(help="Let the language model judge, too, through DeepEval.")] = False,
    compare: CompareOption = None,
    max_loss: LossOption = None,
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """How good answers are: citations per claim, groundedness, refusals, relevance, latency, cost.

    A folder's documents go into a schema of their own that is gone afterwards; other cases are asked of your index.
    """
    settings = command_settings()
    ends = Ends(compare, max_loss, html, json)
    ends.check()
    wanted = AnswersWanted(path, split, field, limit, at_once, judge)
    wanted.cases()
    finish([asyncio.run(stoppable(_answers(settings, wanted, ends)))], ends)


async def _measured(settings: Settings, database: str, wanted: AnswersWanted, err: Console) -> Any:
    """With the local model running, where the settings want it."""
    async with local_model(settings, database, state.find(settings.home)) as answering:
        return await measure_answers(answering, database, wanted, err)


async def _answers(settings: Settings, wanted: AnswersWanted, ends: Ends) -> dict[str, Any]:
    err = show.error_console()
    async with open_sessions(settings) as (sessions, database):
        return await keep(sessions, await _measured(settings, database, wanted, err), ends)


@app.command(
    cls=MayCompare,
    epilog="Examples: almanac eval tools  ·  almanac eval tools bfcl/ --each 50  ·  "
    "almanac eval tools agentdojo/ --json",
)
def tools(
    path: Annotated[
        Path | None,
        typer.Argument(help="A folder of BFCL or AgentDojo, or a file of tasks; default: those Almanac comes with."),
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only this category; several: each of them.")] = None,
    each: Annotated[int | None, typer.Option(min=1, help="Only so many of each category, evenly spread.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="Tasks at a time.")] = 4,
    compare: CompareOption = None,
    max_loss: LossOption = None,
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """Which functions the model calls, and with what: BFCL's AST match, tool choice, arguments.

    Without a language model the router alone is measured: which tool it chooses for a question, or none.
    """
    settings = command_settings()
    ends = Ends(compare, max_loss, html, json)
    ends.check()
    wanted = ToolsWanted(path, tuple(category or ()), each, at_once)
    wanted.tasks()
    finish([asyncio.run(stoppable(_tools(settings, wanted, ends)))], ends)


async def _tools(settings: Settings, wanted: ToolsWanted, ends: Ends) -> dict[str, Any]:
    err = show.error_console()
    async with open_sessions(settings) as (sessions, _):
        return await keep(sessions, await measure_tools(settings, wanted, err), ends)


@app.command(
    cls=MayCompare,
    epilog="Examples: almanac eval safety  ·  almanac eval safety data/ --html safety.html  ·  "
    "almanac eval safety --part planted --part audiences",
)
def safety(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Labelled prompts and personal data; default: the cases that Almanac comes with."),
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Only this part: {', '.join(PARTS)}.")] = None,
    compare: CompareOption = None,
    max_loss: LossOption = None,
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """Attacks in questions, documents, tool results; personal data, secrets, links; other people's documents.

    Planted attacks and random audiences are asked end to end, with a model that obeys every instruction it sees, in a
    schema that is gone afterwards.
    """
    settings = command_settings()
    ends = Ends(compare, max_loss, html, json)
    ends.check()
    wanted = SafetyWanted(folder, tuple(part or ()))
    wanted.check()
    finish([asyncio.run(stoppable(_safety(settings, wanted, ends)))], ends)


async def _safety(settings: Settings, wanted: SafetyWanted, ends: Ends) -> dict[str, Any]:
    err = show.error_console()
    async with open_sessions(settings) as (sessions, database):
        return await keep(sessions, await measure_safety(settings, database, wanted, err), ends)


@app.command(
    name="all",
    cls=MayCompare,
    epilog="Examples: almanac eval all --max-loss 0.02  ·  almanac eval all --html report.html --json",
)
def everything(
    judge: Annotated[bool, typer.Option(help="Let the language model judge answers, too, through DeepEval.")] = False,
    compare: CompareOption = None,
    max_loss: LossOption = None,
    html: HtmlOption = None,
    json: JsonFlag = False,
) -> None:
    """Answers, safety and tools on the cases that Almanac comes with: what CI runs."""
    settings = command_settings()
    ends = Ends(compare, max_loss, html, json)
    ends.check()
    finish(asyncio.run(stoppable(_all(settings, judge, ends))), ends)


async def _all(settings: Settings, judge: bool, ends: Ends) -> list[dict[str, Any]]:
    err = show.error_console()
    async with open_sessions(settings) as (sessions, database):
        return [
            await keep(sessions, await _measured(settings, database, AnswersWanted(judge=judge), err), ends),
            await keep(sessions, await measure_safety(settings, database, SafetyWanted(), err), ends),
            await keep(sessions, await measure_tools(settings, ToolsWanted(), err), ends),
        ]


@app.command(epilog="Examples: almanac eval runs  ·  almanac eval runs --json")
def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: JsonFlag = False,
) -> None:
    """What was measured, the newest first, and what was accepted."""
    found = asyncio.run(_runs(command_settings(), limit))
    if json:
        show.print_json({"runs": found})
    else:
        show_runs(Console(highlight=False), found)


async def _runs(settings: Settings, limit: int) -> list[dict[str, Any]]:
    async with open_sessions(settings) as (sessions, _), sessions() as session:
        return await evaluations.newest(session, limit)


@app.command(epilog="Examples: almanac eval accept last  ·  almanac eval accept 3f2a91c0")
def accept(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or last.")], json: JsonFlag = False
) -> None:
    """Later runs of the same suite and subject are compared with this one."""
    document = asyncio.run(_accept(command_settings(), run))
    if json:
        show.print_json(document)
    else:
        said = f"Accepted {document['run'][:8]}: {document['suite']}, {document['subject']}, {document['model']}."
        show.error_console().print(Text(said))


async def _accept(settings: Settings, name: str) -> dict[str, Any]:
    async with open_sessions(settings) as (sessions, _), sessions.begin() as session:
        run_id = await evaluations.find(session, name)
        await evaluations.accept(session, run_id)
        document = await evaluations.load(session, run_id)
    return {key: document[key] for key in ("run", "suite", "subject", "model", "created_at", "accepted_at")}


@app.command(epilog="Examples: almanac eval collect cases.jsonl  ·  almanac eval collect --since 30d cases.jsonl")
def collect(
    file: Annotated[Path, typer.Argument(help="JSON Lines; cases that it holds already stay as they are.")],
    since: Annotated[str | None, typer.Option(help="Only what was asked in the last 12h, 30d, 4w, 6m, 1y.")] = None,
    json: JsonFlag = False,
) -> None:
    """Add questions without an answer, and those voted down, to a file of cases for `almanac eval answers`.

    Private answers are left out; nobody is named, and what identifies a person is redacted.
    """
    from assistant.evaluation.collecting import span, write

    found = asyncio.run(_collect(command_settings(), None if since is None else span(since)))
    added = write(found, file)
    if json:
        show.print_json({"file": str(file), "found": len(found), "added": added})
    else:
        held = f"; {len(found) - added:,} were there already" if added < len(found) else ""
        show.error_console().print(Text(f"{added:,} cases added to {file}{held}."))


async def _collect(settings: Settings, since: timedelta | None) -> list[dict[str, Any]]:
    from assistant.evaluation.collecting import cases
    from assistant.guardrails.redacting import redact

    async with open_sessions(settings) as (sessions, _), sessions() as session:
        found = await evaluations.open_questions(session, since)
    return cases(found, lambda text: redact((text,), frozenset({"secrets", "pii"})).text)
