"""``almanac status`` and ``almanac check``: what there is, and whether it is well."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

import typer
from rich.console import Console

from assistant.database import migrate
from assistant.database import status as counted
from assistant.settings import Settings
from bot import console as show
from bot import state
from bot.backend import command_settings, open_sessions
from bot.checks import run_checks
from bot.flags import JsonFlag
from bot.local_model import health
from bot.starting import addresses


def status(json: JsonFlag = False) -> None:
    """What the index holds, what runs, and whether it is well."""
    document = asyncio.run(_status(command_settings()))
    if json:
        show.print_json(document)
    else:
        show.show_status(Console(highlight=False), document)


async def _status(settings: Settings) -> dict[str, Any]:
    running = state.find(settings.home)
    async with open_sessions(settings) as (sessions, _), sessions() as session:
        counts = await counted.counts(session)
        recent = await counted.recent_runs(session)
    model_health = {"language model": await health(running.llm)} if running and running.llm else {}
    packages = ("almanac", "torch", "transformers")
    return {
        **counts,
        "runs": recent,
        "running": addresses(running) if running else None,
        "versions": {name: version(name) for name in packages} | {"migration": migrate.head()},
        "health": {"database": "ok"} | model_health,
    }


def check(json: JsonFlag = False) -> None:
    """Check settings, connections, migrations and models; not zero when something is wrong."""
    settings = command_settings()
    console = Console(highlight=False)

    async def collect() -> list[dict[str, Any]]:
        checks = []
        async for result in run_checks(settings):
            checks.append(result)
            if not json:
                show.show_checks(console, [result])
        return checks

    checks = asyncio.run(collect())
    if json:
        show.print_json({"ok": all(result["ok"] for result in checks), "checks": checks})
    if not all(result["ok"] for result in checks):
        raise typer.Exit(1)
