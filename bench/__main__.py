"""``make bench``: every measurement, one after the other."""

from __future__ import annotations

import asyncio

from bench import answers, events, ingestion, kills, latency, retrieval, sync
from bench.world import DATA


def main() -> None:
    if not DATA.is_dir():
        raise SystemExit(f"There is no evaluation data at {DATA}; set ALMANAC_DATA.")
    answers.report(asyncio.run(answers.measure()))
    for name in ("scifact", "feedbackqa"):
        retrieval.report(name, asyncio.run(retrieval.measure(name)))
    latency.report(asyncio.run(latency.measure()))
    events.report(asyncio.run(events.measure()))
    ingestion.report(ingestion.measure())
    ingestion.report_workers(ingestion.measure_workers())
    ingestion.report_memory(ingestion.measure_memory())
    sync.report(asyncio.run(sync.measure()))
    kills.report(kills.measure())


if __name__ == "__main__":
    main()
