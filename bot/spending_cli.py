"""``almanac spending``: what model calls cost, by whom and where, and how far each cap is used."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assistant.errors import AlmanacError
from assistant.knowledge.filters import FilterError
from assistant.settings import Settings
from assistant.spending import report as reporting
from assistant.spending.budget import Budget
from assistant.spending.report import NEAR, CapUse, Report, money
from bot import console as show
from bot.backend import command_settings, open_sessions

SHOWN = 30


class By(StrEnum):
    """What the cost can be split by: ``reporting.GROUPS``."""

    PERSON = "person"
    CHANNEL = "channel"
    MODEL = "model"
    PURPOSE = "purpose"
    DAY = "day"


def spending(
    by: Annotated[By, typer.Option(help="What the cost is split by.")] = By.MODEL,
    since: Annotated[str, typer.Option(help="From 7d ago, 2026-11, 2026-11-05, … on.")] = reporting.SINCE,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")] = False,
) -> None:
    """What model calls cost, by person, channel, model, purpose or day, and how far each cap is used."""
    try:
        found = asyncio.run(_find(command_settings(), by.value, since))
    except FilterError:
        raise AlmanacError(f"--since takes 7d, 2w, 3m, 2026, 2026-05 or 2026-05-01, not {since}.") from None
    if json:
        show.print_json(found.as_json())
    else:
        show_spending(Console(highlight=False), found)


async def _find(settings: Settings, by: str, since: str) -> Report:
    async with open_sessions(settings) as (sessions, _), sessions() as session:
        return await reporting.report(session, Budget(sessions, settings), by, since)


def show_spending(console: Console, found: Report) -> None:
    total = found.total
    if not total.calls:
        console.print(f"No model was called since {found.since}.")
    else:
        table = Table(found.by.capitalize(), box=None, padding=(0, 2, 0, 0))
        for name in ("Answers", "Calls", "Prompt", "Cached", "Completion", "Cost"):
            table.add_column(name, justify="right")
        for row in (*found.rows[:SHOWN], *([total] if len(found.rows) > 1 else [])):
            numbers = (row.answers, row.calls, row.prompt_tokens, row.cached_tokens, row.completion_tokens)
            label = Text(row.name or "–") if row is not total else Text("together", style="bold")
            table.add_row(label, *(f"{number:,}" for number in numbers), money(row.usd))
        console.print(table)
        if len(found.rows) > SHOWN:
            console.print(Text(f"… and {len(found.rows) - SHOWN} more; --json shows all.", style="dim"))
        if total.unknown:
            text = f"{total.unknown:,} calls broke off; they count with the most that they could cost."
            console.print(Text(text, style="yellow"))
    console.print()
    for use in found.caps:
        console.print(_line(use))
    if not found.settings:
        console.print(Text("No cap is set: ALMANAC_CAP_DAY_USD and others.", style="dim"))


def _line(use: CapUse) -> Text:
    """One cap: how much of it is used, and of whose."""
    what = {"day": "Today", "month": "This month"}.get(use.scope, f"Today, {use.scope} {use.name}")
    parts = [money(use.usd) + (f" of {money(use.cap_usd)}" if use.cap_usd is not None else "")]
    parts.append(f"{use.tokens:,}" + (f" of {use.cap_tokens:,}" if use.cap_tokens is not None else "") + " tokens")
    style = "red" if use.share >= 1 else "yellow" if use.share >= NEAR else ""
    return Text(f"{what}: {'  ·  '.join(parts)}", style=style)
