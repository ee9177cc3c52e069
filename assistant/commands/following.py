"""Long work as lines of text: how it stands, whenever that changes, and how it ended."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

from assistant.commands.context import Context
from assistant.commands.finetuning import run_line
from assistant.commands.preferences import learned_line
from assistant.commands.replies import RunState
from assistant.database import finetuning, preferences, runs
from assistant.strings import say

POLL_SECONDS = 1.0
REASONS = 3  # named in the last line


async def follow(context: Context, run_id: uuid.UUID, language: str) -> AsyncIterator[RunState]:
    shown: RunState | None = None
    while shown is None or not shown.finished:
        async with context.sessions() as session:
            run = await runs.find(session, run_id)
        if run is None:
            return
        now = _state(run, language)
        if now != shown:
            yield now
        shown = now
        if not now.finished:
            await asyncio.sleep(POLL_SECONDS)


def _state(run: runs.RunRow, language: str) -> RunState:
    done, total = int(run.progress.get("done", 0)), int(run.progress.get("total", 0))
    failed = int(run.progress.get("failed", 0))
    return RunState(run.state, done, total, failed, _line(run, done, total, language), run.finished)


def _line(run: runs.RunRow, done: int, total: int, language: str) -> str:
    if run.kind == finetuning.RUN and (line := run_line(run, language)) is not None:
        return line
    if run.kind == preferences.RUN and (line := learned_line(run, language)) is not None:
        return line
    if run.state == "queued":
        return say("commands.run_waiting", language)
    if run.state == "running":
        return say("commands.run_going", language, done=f"{done:,}", total=f"{total:,}")
    if run.state == "succeeded" and run.result is not None:
        counts = {name: run.result.get(name, 0) for name in ("added", "updated", "unchanged", "removed")}
        failures = run.result.get("failed") or []
        if not failures:
            return say("commands.run_done", language, **counts)
        reasons = "; ".join(f"{failure['path']}: {failure['reason']}" for failure in failures[:REASONS])
        more = "; …" if len(failures) > REASONS else "."
        return say("commands.run_done_failed", language, **counts, failed=len(failures), reasons=reasons + more)
    return say("commands.run_failed", language, error=run.error or run.state)
