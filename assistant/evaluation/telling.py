"""How an evaluation works on its cases: several at once, and saying how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Case = TypeVar("Case")
Found = TypeVar("Found")

Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def silently(_stage: str, _done: int, _total: int) -> None:
    """Nobody is told."""


async def each(
    cases: Sequence[Case], work: Callable[[Case], Awaitable[Found]], at_once: int, stage: str, tell: Tell
) -> list[Found]:
    """What ``work`` finds for every case, in their order, ``at_once`` of them at a time."""
    free = asyncio.Semaphore(at_once)
    done = 0

    async def one(case: Case) -> Found:
        nonlocal done
        async with free:
            found = await work(case)
        done += 1
        tell(stage, done, len(cases))
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(case)) for case in cases]
    return [task.result() for task in tasks]
