"""A bot in a process of its own that kills itself between two steps: ``python -m tests.teams.child CONFIGURATION``.

The configuration is JSON: the database, the port, the double's URLs and the step at which to die.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from assistant.database import inbox as inbox_rows
from assistant.database.session import create_engine
from bot import inbox
from bot.teams.adapter import TeamsAdapter
from tests.teams.double import TeamsDouble
from tests.teams.parts import ScriptedModel, WordEmbedder, make_services, make_settings, running_bot

# Where each step begins or ends: the object, its method, and whether to die before or after it.
STEPS: dict[str, tuple[Any, str, str]] = {
    "before the event is stored": (inbox.Inbox, "store", "before"),
    "after it is stored, before the response": (inbox.Inbox, "store", "after"),
    "after it is claimed": (inbox_rows, "claim", "committed"),
    "after the first message, before its id is stored": (TeamsAdapter, "send", "after"),
    "after its id is stored": (inbox.Claim, "remember", "after"),
    "after the answer is stored": (TeamsAdapter, "update", "before"),
    "after the update, before the event is closed": (TeamsAdapter, "update", "after"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    owner, name, when = STEPS[step]
    original: Callable[..., Any] = getattr(owner, name)

    async def deadly(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            die()
        result = await original(*arguments, **options)
        if when == "after" or (when == "committed" and result):
            if when == "committed":
                await arguments[0].commit()
            die()
        return result

    setattr(owner, name, deadly)


async def main(configuration: dict[str, Any]) -> None:
    double = TeamsDouble(url=configuration["url"], login_url=configuration["login_url"])
    engine = create_engine(configuration["database"])
    services = make_services(make_settings(double), engine, WordEmbedder(), ScriptedModel())
    arm(configuration["step"])
    async with running_bot(services, double, configuration["port"]):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
