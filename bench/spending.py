"""What holding the caps takes: a reservation and its settlement, alone and in a burst.

python -m bench.spending
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from assistant.answering.messages import Question, Usage
from assistant.database.migrate import upgrade
from assistant.database.session import create_engine, create_sessions
from assistant.embedded import embedded_postgres
from assistant.knowledge.audience import Audience
from assistant.settings import Price, load_settings
from assistant.spending.budget import Budget

ALONE, BURST = 300, 50


async def main(url: str) -> None:
    engine = create_engine(url, pool_size=12)
    await upgrade(engine)
    prices = {"m": Price(prompt=1, completion=2)}
    settings = load_settings(_env_file=None, llm_prices=prices, cap_day_usd=1_000, cap_channel_day_usd=1_000)
    budget = Budget(create_sessions(engine), settings)
    asked = Question("Why?", "slack:T1:U1", Audience.everyone(), "slack", "T1:C1:1")

    async def one() -> tuple[float, float]:
        purse = budget.purse(asked)
        begun = time.perf_counter()
        held = await purse.reserve("m", 4_000, 700)
        reserved = time.perf_counter()
        await purse.settle(Usage(1_000, 100, 0.0012), held)
        return (reserved - begun) * 1000, (time.perf_counter() - reserved) * 1000

    await one()
    alone = [await one() for _ in range(ALONE)]
    show("alone", alone)
    begun = time.perf_counter()
    burst = await asyncio.gather(*(one() for _ in range(BURST)))
    show(f"{BURST} at once", burst)
    print(f"{BURST} at once took {(time.perf_counter() - begun) * 1000:.0f} ms in all")
    await engine.dispose()


def show(name: str, times: list[tuple[float, float]]) -> None:
    for what, values in zip(("reserve", "settle"), zip(*times, strict=True), strict=True):
        ordered = sorted(values)
        print(
            f"{name:12} {what:8} median {statistics.median(ordered):6.1f} ms, 95 % {ordered[-len(ordered) // 20]:6.1f}"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="almanac-") as folder, embedded_postgres(Path(folder)) as url:
        asyncio.run(main(url))
