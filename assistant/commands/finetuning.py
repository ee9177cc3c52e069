"""The commands ``finetune``, ``models`` and ``training``: versions of the model made, tried, and taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.commands.context import Context, ago, header
from assistant.commands.reading import needs
from assistant.commands.replies import Caller, Confirm, Refused, Reply, Table
from assistant.database import audit, finetuning, runs
from assistant.database.finetuning import Version
from assistant.database.runs import RunRow
from assistant.models.registry import Registry
from assistant.strings import say

SHOWN = 15
MINUTES, MOST_MINUTES = 60, 24 * 60  # of training, where nobody says
ACTIONS = ("show", "promote", "canary", "rollback", "remove")


async def finetune(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    """``finetune [dpo] [minutes=N] [keep|promote]``, ``finetune stop``."""
    if rest.strip().lower() == "stop":
        return await _stop(context, caller)
    arguments = _arguments(rest, caller)
    if not confirmed:
        kind, minutes = arguments["kind"], f"{arguments['minutes']:g}"
        sentence = say(f"finetuning.sure_{kind}", caller.language, minutes=minutes)
        again = f"finetune {rest}".strip()
        return Reply(sentence, confirm=Confirm(sentence, say("finetuning.train", caller.language), again))
    async with context.sessions.begin() as session:
        run_id, new = await finetuning.request_run(session, arguments)
        if new:
            await _record(session, caller, "finetune", str(run_id), arguments)
    await context.queue.enqueue(run_id)
    return Reply(say("finetuning.begun" if new else "finetuning.goes_on", caller.language), run_id=run_id)


def _arguments(rest: str, caller: Caller) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "lora", "minutes": float(MINUTES), "then": "canary"}
    for word in rest.lower().split():
        name, _, value = word.partition("=")
        if word == "dpo":
            found["kind"] = "dpo"
        elif word in ("keep", "promote"):
            found["then"] = word
        elif name == "minutes" and value.isdecimal() and len(value) < 6 and 0 < int(value) <= MOST_MINUTES:
            found["minutes"] = float(value)
        else:
            raise Refused(say("finetuning.usage", caller.language, word=word[:40].replace("`", "'")))
    return found


async def _stop(context: Context, caller: Caller) -> Reply:
    async with context.sessions.begin() as session:
        run_id = await finetuning.open_run(session)
        if run_id is None or not await runs.cancel(session, run_id):
            raise Refused(say("finetuning.nothing_runs", caller.language))
        await _record(session, caller, "finetune stop", str(run_id))
    return Reply(say("finetuning.stopped", caller.language))


async def models(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    """``models``, ``models show|promote|remove NAME``, ``models canary NAME PERCENT``, ``models rollback``."""
    action, _, argument = rest.partition(" ")
    action, argument = action.lower() or "list", argument.strip()
    registry = Registry(context.sessions, context.settings.adapters_url)
    if action == "list":
        return await _list(context, caller, registry)
    if action not in ACTIONS:
        raise Refused(say("commands.unknown", caller.language, name=f"models {action[:40]}".replace("`", "'")))
    if action == "rollback":
        return await _rollback(context, caller, registry, confirmed)
    name, _, share = argument.partition(" ")
    if not name:
        raise Refused(needs(caller, f"models {action} NAME", "version"))
    version = await registry.get(name)
    if action == "show":
        return Reply(_shown(version, caller.language), table=_measures(version, caller.language))
    return await _change(caller, registry, version, action, share.strip(), confirmed)


async def _list(context: Context, caller: Caller, registry: Registry) -> Reply:
    language, name = caller.language, context.model_name
    model = say("commands.extractive", language) if name == "extractive" else name
    text = say("commands.models_text", language, model=model, embedding=context.embedding_name)
    found = (await registry.versions())[:SHOWN]
    if not found:
        return Reply(text)
    rows = tuple(
        (version.name, state(version, language), verdict(version.report, language), ago(version.created_at, language))
        for version in found
    )
    return Reply(text, table=Table(header("finetuning.versions_header", language), rows))


async def _change(
    caller: Caller, registry: Registry, version: Version, action: str, share: str, confirmed: bool
) -> Reply:
    language, part = caller.language, _share(share, caller) if action == "canary" else None
    values = {"name": version.name, "base": version.base, "share": "" if part is None else f"{100 * part:g} %"}
    if not confirmed:
        sentence = say(f"finetuning.{action}_sure", language, **values)
        if action != "remove" and version.report.get("gate", {}).get("verdict") != "gain":
            sentence += " " + say("finetuning.no_gain", language)
        command = f"models {action} {version.name} {share}".strip()
        return Reply(sentence, confirm=Confirm(sentence, say(f"finetuning.{action}", language), command))

    async def record(session: AsyncSession) -> None:
        details = {"share": part} if part is not None else {}
        await _record(session, caller, f"models {action}", version.name, details)

    if action == "remove":
        await registry.remove(version.name, also=record)
    else:
        await registry.promote(version.name, part, also=record)
    return Reply(say(f"finetuning.{action}_done", language, **values))


async def _rollback(context: Context, caller: Caller, registry: Registry, confirmed: bool) -> Reply:
    if not confirmed:
        served = await registry.served()
        if not served:
            raise Refused(say("finetuning.none_answers", caller.language))
        last = next((version for version in served if version.state == "canary"), served[0])
        sentence = say("finetuning.rollback_sure", caller.language, name=last.name)
        return Reply(
            sentence, confirm=Confirm(sentence, say("finetuning.rollback", caller.language), "models rollback")
        )

    async def record(session: AsyncSession) -> None:
        await _record(session, caller, "models rollback", "")

    found = await registry.rollback(also=record)
    in_force = found.withdrawn.base if found.in_force is None else found.in_force.name
    return Reply(say("finetuning.rollback_done", caller.language, name=found.withdrawn.name, in_force=in_force))


def _share(words: str, caller: Caller) -> float:
    """A percentage of the conversations as a share."""
    number = words.rstrip("% ").strip()
    try:
        share = float(number) / 100 if number else 0.1
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise Refused(say("finetuning.bad_share", caller.language))
    return share


async def training(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    """``training [out|in]``: whether models may be trained on the caller's own questions and votes."""
    word = rest.strip().lower()
    if word not in ("", "in", "out"):
        raise Refused(say("finetuning.training_usage", caller.language))
    async with context.sessions.begin() as session:
        if word:
            await finetuning.opt_out(session, caller.person, word == "out")
            await _record(session, caller, f"training {word}", "")
        out = await finetuning.opted_out(session, caller.person)
    return Reply(say("finetuning.training_out" if out else "finetuning.training_in", caller.language))


def state(version: Version, language: str) -> str:
    text = say(f"finetuning.state_{version.state}", language)
    return f"{text} ({100 * version.share:g} %)" if version.state == "canary" else text


def verdict(report: Mapping[str, Any], language: str) -> str:
    found = str(report.get("gate", {}).get("verdict", ""))
    return say(f"finetuning.verdict_{found.replace(' ', '_')}", language) if found else "–"


def _shown(version: Version, language: str) -> str:
    values = {"name": version.name, "base": version.base, "state": state(version, language)}
    text = say("finetuning.shown", language, **values, size=f"{version.bytes / 2**20:.1f}", place=version.location)
    return f"{text} {verdict(version.report, language)}"


def _measures(version: Version, language: str) -> Table | None:
    found = version.report.get("gate", {}).get("measures", ())
    rows = tuple((row["title"], *numbers(row)) for row in found)
    return Table(header("finetuning.measures_header", language), rows) if rows else None


def numbers(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """A measure before, after, and the interval of its change."""
    scale, unit, digits = (100.0, " %", 1) if row["relative"] else (1.0, "", 3)
    low, high = (f"{scale * row[name]:+.{digits}f}" for name in ("low", "high"))
    return f"{row['before']:.3f}", f"{row['after']:.3f}", f"{scale * row['change']:+.{digits}f}{unit} [{low}, {high}]"


def run_line(run: RunRow, language: str) -> str | None:
    """One line about a run that trains; None where it is said as of any run."""
    if run.state == "running":
        stage = str(run.progress.get("stage") or "data").partition(" ")[0]
        known = stage if stage in ("data", "training", "measuring") else "training"
        done, total = int(run.progress.get("done", 0)), int(run.progress.get("total", 0))
        parts = [say(f"finetuning.stage_{known}", language)]
        if total:
            parts.append(f"{done:,}/{total:,}")
        if run.progress.get("seconds_left"):
            parts.append(say("finetuning.left", language, minutes=f"{run.progress['seconds_left'] / 60:.0f}"))
        return ", ".join(parts)
    if run.state == "succeeded" and run.result is not None and "version" in run.result:
        found = {"gate": {"verdict": run.result.get("verdict")}}
        values = {"name": run.result["version"], "verdict": verdict(found, language)}
        return say(f"finetuning.done_{run.result.get('state', 'candidate')}", language, **values)
    return None


async def _record(
    session: AsyncSession, caller: Caller, action: str, target: str, details: Mapping[str, Any] | None = None
) -> None:
    await audit.record(session, caller.person, caller.platform, action, target, details)
