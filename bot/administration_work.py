"""What the commands of administration share: the database, a run to its end, a question before what is for good."""

from __future__ import annotations

import asyncio
import getpass
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import audit
from assistant.errors import AlmanacError
from assistant.settings import Settings
from bot import console as show
from bot import working
from bot.backend import open_sessions

T = TypeVar("T")
Begin = Callable[[AsyncSession], Awaitable[tuple[uuid.UUID, dict[str, Any]]]]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def work(settings: Settings, begin: Begin, wait: bool, json: bool) -> None:
    result = run(worked(settings, begin, wait, json))
    tell(result, json)
    if json:
        show.print_json(result)


async def worked(settings: Settings, begin: Begin, wait: bool, json: bool) -> dict[str, Any]:
    """Begin a run in one transaction, and, unless nobody waits, follow it to its end with a bar."""
    async with open_sessions(settings) as (sessions, url):
        async with sessions.begin() as session:
            run_id, about = await begin(session)
        if not wait:
            if (queue_url := working.queue_of(settings)) is not None:
                await working.enqueue(queue_url, run_id)
            return {**about, "run": str(run_id), "state": "queued"}
        with show.ingest_bar(show.error_console()) as bar:
            task = bar.add_task("Reading", total=None, detail="")
            ended = await working.work_off(
                settings, url, sessions, run_id, lambda run: show.update_bar(bar, task, run.progress)
            )
    if ended.state != "succeeded" or ended.result is None:
        raise AlmanacError(ended.error or "The run did not finish.")
    return {**about, "run": str(run_id), "state": ended.state, **ended.result}


def tell(result: dict[str, Any], json: bool) -> None:
    if json:
        return
    if "documents" in result:
        show.show_ingested(show.error_console(), result)
    else:
        show.error_console().print(f"Queued as run {result['run'][:8]}; `almanac runs` shows how it goes.")


def confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise AlmanacError("Nobody can be asked here whether it is meant; say so with --yes.")
    if not typer.confirm(question, err=True):
        raise AlmanacError("Nothing was changed.")


def person() -> str:
    return f"terminal:{getpass.getuser()}"


async def record(session: AsyncSession, action: str, target: str, details: dict[str, Any] | None = None) -> None:
    await audit.record(session, person(), "terminal", action, target, details)
