"""``almanac finetune`` and ``almanac models``: train a version of the local model, measure it, let it answer or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.commands.context import ago
from assistant.commands.finetuning import numbers, state, verdict
from assistant.database import finetuning, runs
from assistant.database.finetuning import Version
from assistant.errors import AlmanacError
from assistant.models.registry import Registry
from assistant.settings import Settings
from bot import administration_work as common
from bot import console as show
from bot import working
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag, YesFlag

models_app = typer.Typer(help="Versions of the local model: list, promote, try, take back.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="A version, as `almanac models list` shows it.")]


class On(StrEnum):
    """What is trained on: ``ALMANAC_FINETUNE_ON``."""

    DOCUMENTS = "documents"
    ANSWERS = "answers"
    BOTH = "both"


def finetune(
    dpo: Annotated[
        bool, typer.Option("--dpo", help="Learn from pairs of answers instead, with the adapter in force.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=0.1, max=14_400, help="Train no longer than that.")] = None,
    on: Annotated[On | None, typer.Option(help="What to train on; default: ALMANAC_FINETUNE_ON.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="With --dpo: JSON Lines of prompt, chosen, rejected; default: votes.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Questions to measure with: question, passages, reference.")
    ] = None,
    canary: Annotated[
        float, typer.Option(min=0.1, max=99.9, help="Percent of the conversations, if it is better.")
    ] = 10.0,
    promote: Annotated[
        bool, typer.Option("--promote", help="If it is better, let it answer every conversation.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Even if it is better, let it answer nothing yet.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say how long it would take, and what it would cost.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the training that goes on.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")] = True,
    json: JsonFlag = False,
) -> None:
    """Train a version of the local model on what the index holds, measure it, and try it if it is better."""
    settings = command_settings()
    if stop:
        common.run(_stop(settings, json))
        return
    if promote and keep:
        raise AlmanacError("Either --promote or --keep.")
    if pairs is not None and not dpo:
        raise AlmanacError("--pairs goes with --dpo.")
    arguments: dict[str, Any] = {
        "kind": "dpo" if dpo else "lora", "minutes": minutes, "share": canary / 100, "estimate": estimate,
        "then": "promote" if promote else "keep" if keep else "canary",
    }  # fmt: skip
    if on is not None:
        arguments["chosen"] = on.value
    arguments |= {name: _file(path) for name, path in (("pairs", pairs), ("questions", questions)) if path is not None}
    result = common.run(_train(settings, arguments, wait))
    if json:
        show.print_json(result)
    else:
        show_result(Console(highlight=False), result)


def _file(path: Path) -> str:
    if not path.is_file():
        raise AlmanacError(f"{path} is no file.")
    return str(path.resolve())


async def _train(settings: Settings, arguments: Mapping[str, Any], wait: bool) -> dict[str, Any]:
    async with open_sessions(settings) as (sessions, url):
        async with sessions.begin() as session:
            run_id, new = await finetuning.request_run(session, arguments)
            if new:
                await common.record(session, "finetune", str(run_id), dict(arguments))
        if not new:
            _tell("A version is being trained already; this follows it.", "yellow")
        if not wait:
            if (queue_url := working.queue_of(settings)) is not None:
                await working.enqueue(queue_url, run_id)
            return {"run": str(run_id), "state": "queued"}
        with _bar() as bar:
            task = bar.add_task("Waiting for a worker", total=None, detail="")
            ended = await working.work_off(settings, url, sessions, run_id, lambda run: _update(bar, task, run))
    if ended.state == "cancelled":
        raise AlmanacError("The training was stopped.")
    if ended.state != "succeeded" or ended.result is None:
        raise AlmanacError(ended.error or "The run did not finish.")
    known = ("version", "state", "share", "verdict", "reasons", "measures", "compared_with", "estimate", "seconds")
    return {"run": str(run_id), **{name: ended.result[name] for name in known if name in ended.result}}


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[detail]}"), TimeElapsedColumn(), console=show.error_console(),
    )  # fmt: skip


def _update(bar: Progress, task: Any, run: runs.RunRow) -> None:
    if run.state != "running":
        return
    now = run.progress
    parts = [f"loss {now['loss']:.3f}"] if now.get("loss") is not None else []
    parts += [f"{now['tokens_per_second']:,.0f} tokens/s"] if now.get("tokens_per_second") else []
    parts += [f"{now['seconds_left'] / 60:.1f} min left"] if now.get("seconds_left") is not None else []
    parts += [f"${now['cost_usd']:.2f}"] if now.get("cost_usd") else []
    stage = str(now.get("stage") or "data").capitalize()
    bar.update(
        task, description=stage, total=now.get("total") or None, completed=now.get("done", 0), detail=", ".join(parts)
    )


def show_result(console: Console, result: Mapping[str, Any]) -> None:
    if "estimate" in result:
        _show_estimate(console, result["estimate"])
    elif "version" in result:
        style = {"gain": "green", "loss": "red"}.get(result["verdict"], "yellow")
        console.print(
            Text.assemble((result["version"], "bold"), ": ", (result["verdict"], style), f", {result['state']}")
        )
        for reason in result["reasons"]:
            console.print(Text(f"  {reason}", style="dim"))
        console.print(_measures(result["measures"]))
        if result["state"] == "canary":
            _tell(f"It answers {100 * result['share']:g} % of the conversations; `almanac models promote "
                  f"{result['version']}` or `almanac models rollback` decides.")  # fmt: skip
    else:
        _tell(f"Queued as run {result['run'][:8]}; `almanac runs` shows how it goes.", "")


def _show_estimate(console: Console, found: Mapping[str, Any]) -> None:
    cost = f", ${found['cost_usd']:.2f}" if found.get("cost_usd") else ""
    speed = f" at {found['tokens_per_second']:,.0f} tokens a second" if found.get("tokens_per_second") else ""
    amount = f"{found['tokens']:,} tokens" if found.get("tokens") else f"{found.get('steps') or 0:,} steps"
    console.print(f"About {found['seconds'] / 60:.1f} minutes{cost}: {amount}{speed}. The gate comes on top.")


def _measures(rows: Any) -> Table:
    table = Table("Measure", box=None, padding=(0, 2, 0, 0))
    for name in ("Before", "After", "Change", "Cases"):
        table.add_column(name, justify="right")
    for row in rows:
        style = "green" if row["gain"] else "red" if row["lost"] else "" if row["judged"] else "dim"
        table.add_row(row["title"], *numbers(row), str(row["cases"]), style=style)
    return table


async def _stop(settings: Settings, json: bool) -> None:
    async with open_sessions(settings) as (sessions, _), sessions.begin() as session:
        run_id = await finetuning.open_run(session)
        if run_id is None or not await runs.cancel(session, run_id):
            raise AlmanacError("No version is being trained.")
        await common.record(session, "finetune stop", str(run_id))
    if json:
        show.print_json({"stopped": str(run_id)})
    else:
        _tell("The training was stopped.")


@models_app.command("list", epilog="Examples: almanac models list  ·  almanac models list --json")
def list_models(json: JsonFlag = False) -> None:
    """Every version: what it comes from, whether it answers, and what the gate said."""
    found = _with_registry(lambda registry: registry.versions())
    if json:
        show.print_json({"versions": [_as_json(version, brief=True) for version in found]})
        return
    console = Console(highlight=False)
    if not found:
        console.print("There is no version yet; `almanac finetune` trains one.")
        return
    table = Table("Version", "State", "Verdict", "Made", box=None, padding=(0, 2, 0, 0))
    table.add_column("Size", justify="right")
    for version in found:
        style = {"promoted": "bold green", "canary": "green", "refused": "dim"}.get(version.state, "")
        words = (state(version, "en"), verdict(version.report, "en"), ago(version.created_at, "en"))
        table.add_row(version.name, *words, f"{version.bytes / 2**20:.1f} MiB", style=style)
    console.print(table)


@models_app.command("show", epilog="Example: almanac models show smollm2-135m-instruct-lora-0001 --json")
def show_model(name: NameArgument, json: JsonFlag = False) -> None:
    """One version: its files, how it was trained, what was measured, some answers to read."""
    version = _with_registry(lambda registry: registry.get(name))
    if json:
        show.print_json(_as_json(version))
        return
    console = Console(highlight=False)
    console.print(Text.assemble((version.name, "bold"), f", a version of {version.base}: {state(version, 'en')}"))
    console.print(Text(f"{version.location}: {', '.join(sorted(version.files))}", style="dim"))
    gate = version.report.get("gate", {})
    for reason in gate.get("reasons", ()):
        console.print(f"  {reason}")
    if gate.get("measures"):
        console.print(_measures(gate["measures"]))
    for said in gate.get("answers", ())[:3]:
        console.print(Text.assemble(("\nQuestion  ", "bold"), said["question"][-300:]))
        console.print(Text.assemble(("Before    ", "bold"), said["before"]))
        console.print(Text.assemble(("After     ", "bold"), said["after"]))


@models_app.command("promote", epilog="Example: almanac models promote smollm2-135m-instruct-lora-0001")
def promote_model(name: NameArgument, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Let a version answer every conversation. What was in force is retired, and can be gone back to."""
    version = _with_registry(lambda registry: registry.get(name))
    common.confirm(f"Let {name} answer every conversation?{_doubt(version)}", yes)
    _changed(lambda registry: registry.promote(name, also=_recording("models promote", name)), json)


@models_app.command("canary", epilog="Example: almanac models canary smollm2-135m-instruct-lora-0001 --share 10")
def canary_model(
    name: NameArgument,
    share: Annotated[float, typer.Option(min=0.1, max=99.9, help="Percent of the conversations.")] = 10.0,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Let a version answer a share of the conversations, beside what is in force."""
    version = _with_registry(lambda registry: registry.get(name))
    common.confirm(f"Let {name} answer {share:g} % of the conversations?{_doubt(version)}", yes)
    also = _recording("models canary", name, {"share": share / 100})
    _changed(lambda registry: registry.promote(name, share / 100, also=also), json)


@models_app.command("rollback", epilog="Example: almanac models rollback --yes --json")
def rollback_model(yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Take back the last step: the canary, else what is in force. What was in force before answers again."""
    served = _with_registry(lambda registry: registry.served())
    last = next((version for version in served if version.state == "canary"), served[0] if served else None)
    if last is not None:
        common.confirm(f"Take back {last.name}?", yes)
    found = _with_registry(lambda registry: registry.rollback(also=_recording("models rollback", "")))
    in_force = None if found.in_force is None else found.in_force.name
    if json:
        show.print_json({"withdrawn": found.withdrawn.name, "in_force": in_force, "base": found.withdrawn.base})
    else:
        _tell(f"{found.withdrawn.name} was taken back; {in_force or found.withdrawn.base} answers now.")


@models_app.command("remove", epilog="Example: almanac models remove smollm2-135m-instruct-lora-0001 --yes")
def remove_model(name: NameArgument, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a version that answers nothing, with its files, for good."""
    common.confirm(f"Remove {name} with its files, for good?", yes)
    version = _with_registry(lambda registry: registry.remove(name, also=_recording("models remove", name)))
    if json:
        show.print_json({"removed": version.name})
    else:
        _tell(f"{version.name} is gone.")


def _with_registry(work: Callable[[Registry], Awaitable[Any]]) -> Any:
    settings = command_settings()

    async def do() -> Any:
        async with open_sessions(settings) as (sessions, _):
            return await work(Registry(sessions, settings.adapters_url))

    return asyncio.run(do())


def _changed(work: Callable[[Registry], Awaitable[Version]], json: bool) -> None:
    version = _with_registry(work)
    if json:
        show.print_json(_as_json(version, brief=True))
    else:
        what = "every conversation" if version.state == "promoted" else f"{100 * version.share:g} % of them"
        _tell(f"{version.name} answers {what} now.")


def _recording(
    action: str, target: str, details: dict[str, Any] | None = None
) -> Callable[[AsyncSession], Awaitable[None]]:
    async def record(session: AsyncSession) -> None:
        await common.record(session, action, target, details)

    return record


def _doubt(version: Version) -> str:
    return "" if version.report.get("gate", {}).get("verdict") == "gain" else " The gate found no gain in it."


def _as_json(version: Version, brief: bool = False) -> dict[str, Any]:
    document = asdict(version)
    if brief:
        gate = document.pop("report").get("gate", {})
        return {**document, "verdict": gate.get("verdict"), "reasons": gate.get("reasons", [])}
    return document


def _tell(sentence: str, style: str = "green") -> None:
    show.error_console().print(Text(sentence, style=style))
