"""The worker, Valkey and Postgres killed at random, for long: ``python -m bench.kills [SEED]``.

Asserts, after every story, that each document is there once, with each passage once and exact statistics.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.ingestion.kills import Outcome, rehearse

STORIES, SIZE, KILLS = 5, 300, 15


def measure(seed: int = 1) -> list[Outcome]:
    outcomes = []
    for story in range(STORIES):
        with tempfile.TemporaryDirectory(prefix="almanac-", ignore_cleanup_errors=True) as home:
            outcomes.append(asyncio.run(rehearse(Path(home), seed + 100 * story, SIZE, KILLS, patience=600.0)))
    return outcomes


def report(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        killed = ", ".join(f"{target} {number}" for target, number in sorted(outcome.kills.items()))
        print(f"kills: {killed}: nothing lost, nothing doubled, in {outcome.seconds:.0f} s")


if __name__ == "__main__":
    report(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
