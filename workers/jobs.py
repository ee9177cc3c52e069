"""What arq calls. Each job opens what it needs and calls one use case."""

from __future__ import annotations

import uuid
from typing import Any

from assistant import queue
from assistant.database import runs
from workers.execution import execute


async def run(ctx: dict[str, Any], run_id: str) -> None:
    """Work off one run."""
    await execute(ctx["services"], uuid.UUID(run_id))


async def sweep(ctx: dict[str, Any]) -> None:
    """Queue again what waits: the queue may have lost it, or its worker died."""
    async with ctx["services"].sessions.begin() as session:
        await runs.give_up_exhausted(session)
        waiting = await runs.waiting(session)
    for run_id in waiting:
        await queue.enqueue(ctx["redis"], run_id)
