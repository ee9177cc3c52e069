"""Random worlds of people, groups and pages: ``python -m bench.permissions [WORLDS]``.

In each, questions are asked while pages are revoked and groups change; what is found, answered, kept, counted and
logged is looked through for words of pages that the asker may not read. One such trace ends it with an error.
"""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import redirect_stderr, redirect_stdout

from assistant.database.scratch import scratch_schema
from assistant.database.session import create_engine, create_reading_engine, create_sessions
from assistant.telemetry import configure_logs
from bench.world import server
from tests.core.worlds import World, watched

WORLDS, PAGES, ROUNDS = 12, 30, 40


async def _watch(url: str, seed: int) -> None:
    writing, reading = create_engine(url), create_reading_engine(url)
    world = World(seed, create_sessions(writing), create_sessions(reading))
    logged = io.StringIO()

    def shown() -> list[str]:
        lines = [logged.getvalue()]
        logged.seek(0)
        logged.truncate()
        return lines

    try:
        with redirect_stdout(logged), redirect_stderr(logged):
            configure_logs("DEBUG", "console")
            await world.fill(PAGES)
            await watched(world, ROUNDS, shown)
    finally:
        configure_logs("WARNING", "console")
        await writing.dispose()
        await reading.dispose()


async def measure(worlds: int = WORLDS) -> int:
    """The number of questions that left no trace."""
    with server() as url:
        for seed in range(2, 2 + worlds):
            async with scratch_schema(url) as scratch:
                await _watch(scratch, seed)
    return worlds * ROUNDS


def main() -> None:
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else WORLDS
    print(
        f"permissions: {asyncio.run(measure(worlds))} questions in {worlds} worlds, no trace of what is not the asker's"
    )


if __name__ == "__main__":
    main()
