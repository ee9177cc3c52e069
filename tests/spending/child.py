"""A process that makes many calls at once: ``python child.py URL NUMBER CALLS SECONDS [settle]``. Prints, as its last
line, how many calls were made and what they cost in dollars; ``held`` when the first one is under way."""

from __future__ import annotations

import asyncio
import json
import sys

from assistant.answering.messages import Question
from assistant.database.session import create_engine, create_sessions
from assistant.knowledge.audience import Audience
from assistant.models.pricing import priced
from assistant.settings import Price, load_settings
from assistant.spending.budget import Budget, OverBudget

PRICES = {"m": Price(prompt=100, completion=200)}


async def main(url: str, number: int, calls: int, seconds: float, settles: bool) -> None:
    engine = create_engine(url, pool_size=8)
    budget = Budget(create_sessions(engine), load_settings(_env_file=None, llm_prices=PRICES, cap_channel_day_usd=0.5))
    costs: list[float] = []

    async def one(n: int) -> None:
        person = f"slack:T1:U{(number * 7 + n) % 5}"
        purse = budget.purse(Question("Why?", person, Audience.everyone(), "slack", f"T1:C1:{number}.{n}"))
        try:
            async with purse.call("m", prompt_tokens=100, completion_tokens=50) as call:
                print("held", flush=True)
                await asyncio.sleep(seconds)
                usage = priced(PRICES, "m", 90, n % 50)
                if settles:
                    call.used(usage)
                costs.append(usage.cost_usd if settles else 0.02)
        except OverBudget:
            return

    await asyncio.gather(*map(one, range(calls)))
    print(json.dumps([len(costs), sum(costs)]))
    await engine.dispose()


if __name__ == "__main__":
    url, number, calls, seconds, *settle = sys.argv[1:]
    asyncio.run(main(url, int(number), int(calls), float(seconds), bool(settle)))
