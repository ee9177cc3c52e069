"""``almanac up`` and ``almanac down``: all of it, started and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from assistant.errors import AlmanacError, NotRunning
from bot import console as show
from bot import state
from bot.backend import command_settings
from bot.child import STOP_SECONDS
from bot.flags import JsonFlag

if TYPE_CHECKING:
    from assistant.database import runs


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the web page; 0 takes a free one.")
    ] = None,
    sample: Annotated[bool, typer.Option(help="Read the sample handbook when the index is empty.")] = True,
    json: JsonFlag = False,
) -> None:
    """Start everything: Postgres, Valkey, the worker and the bot. Ctrl-C stops all of it."""
    from bot import supervisor  # with what it starts, which `down` need not load

    settings = command_settings(**({} if port is None else {"port": port}))
    err = show.error_console()

    def ready(running: state.Running) -> None:
        if json:
            show.print_json(addresses(running))
        else:
            _greet(Console(highlight=False), running)

    with show.ingest_bar(err) as bar:
        task: Any = None

        def tell(sentence: str) -> None:
            bar.console.print(Text(sentence, style="dim"))

        def watch(run: runs.RunRow) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("Sample handbook", total=None, detail="")
            show.update_bar(bar, task, run.progress)
            if run.finished:
                bar.stop()

        asyncio.run(supervisor.up(settings, tell, watch, ready, sample))


def addresses(running: state.Running) -> dict[str, Any]:
    return {
        "web": running.web,
        "slack_events": f"{running.web}/slack/events",
        "teams_messages": f"{running.web}/api/messages",
        "pid": running.pid,
        **({"llm": {"url": running.llm.url, "model": running.llm.name}} if running.llm else {}),
    }


def _greet(console: Console, running: state.Running) -> None:
    console.print()
    console.print(Text("Almanac is ready.", style="bold green"))
    console.print(Text.assemble("  Web page   ", (running.web, f"bold link {running.web}")))
    console.print(Text.assemble("  Try        ", ('.venv/bin/almanac ask "How do I roll back a deployment?"', "bold")))
    console.print(Text("  Ctrl-C stops everything it started.", style="dim"))


def down(json: JsonFlag = False) -> None:
    """Stop the Almanac that runs in this folder."""
    settings = command_settings()
    running = state.find(settings.home)
    if running is None:
        raise NotRunning(f"No Almanac runs in {settings.home.resolve()}.")
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS + 10
    while state.find(settings.home) is not None:
        if time.monotonic() > deadline:
            raise AlmanacError(f"Almanac (pid {running.pid}) did not stop in time.")
        time.sleep(0.1)
    if json:
        show.print_json({"stopped": True, "pid": running.pid})
    else:
        show.error_console().print("Almanac has stopped.")
