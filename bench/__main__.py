"""``make bench``: every measurement, one after the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from bench import answers, events, filtered, followups, ingestion, kills, latency, retrieval, scale, sync
from bench.world import DATA

# These load what the others need not, or start servers of their own.
APART = {
    "routing": (), "fitting": (), "guarding": (), "cache": ("--shared", str(DATA)), "spending": (), "preferences": (),
    "best_of": (), "finetuning": (), "dpo": (), "serving": (), "chaos": (), "lessons": (), "permissions": (),
}  # fmt: skip


def main() -> None:
    if not DATA.is_dir():
        raise SystemExit(f"There is no evaluation data at {DATA}; set ALMANAC_DATA.")
    answered = asyncio.run(answers.measure())
    answers.report(answered)
    for name in ("scifact", "feedbackqa", "mtrag_cloud"):
        retrieval.report(name, asyncio.run(retrieval.measure(name)))
    followups.report(asyncio.run(followups.measure()))
    asyncio.run(filtered.main())
    scale.report(asyncio.run(scale.measure()))
    scale.report_concurrency(asyncio.run(scale.measure_concurrency()))
    scale.plot()
    latency.report(asyncio.run(latency.measure()))
    events.report(asyncio.run(events.measure()))
    ingestion.report(ingestion.measure())
    ingestion.report_workers(ingestion.measure_workers())
    ingestion.report_memory(ingestion.measure_memory())
    sync.report(asyncio.run(sync.measure()))
    kills.report(kills.measure())
    for name, arguments in APART.items():
        subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=True)
    if found := answers.short(answered):  # said last, so that it stands where people look
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
