"""Bots in processes of their own that may kill themselves between two steps: ``python -m tests.teams.child``.

Each line of its standard input is one: a configuration as JSON with the database, the port, the double's URLs, and the
step at which to die, if any.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from assistant.database import inbox as inbox_rows
from assistant.database.session import create_engine
from bot import inbox
from bot.teams import live, paced
from bot.teams.adapter import TeamsAdapter
from tests.teams.double import TeamsDouble
from tests.teams.parts import BUDGETS, TEMPO, SlowModel, WordEmbedder, make_services, make_settings, running_bot


@dataclass(frozen=True)
class Step:
    """Die before or after the ``count``-th call of ``owner.name``; of those for which ``when`` holds."""

    owner: Any
    name: str
    moment: str  # before, after, committed
    count: int = 1
    when: Callable[..., bool] = lambda *_: True


def final(_self: Any, _place: Any, _message: Any, chunk: Any) -> bool:
    return bool(chunk.kind == "final")


def whispered(_self: Any, place: Any, *_: Any) -> bool:
    return bool(place.only)


COMMON = {
    "before the event is stored": Step(inbox.Inbox, "store", "before"),
    "after it is stored, before the response": Step(inbox.Inbox, "store", "after"),
    "after it is claimed": Step(inbox_rows, "claim", "committed"),
}
STREAMED = {
    **COMMON,
    "after the stream began, before its id is stored": Step(TeamsAdapter, "stream", "after"),
    "after the stream's id is stored": Step(inbox.Claim, "remember", "after"),
    "in the middle of the stream": Step(TeamsAdapter, "stream", "after", 3),
    "after the answer is stored, before the final message": Step(TeamsAdapter, "stream", "before", when=final),
    "after the final message, before that is stored": Step(TeamsAdapter, "stream", "after", when=final),
    "after that is stored, before the event is closed": Step(inbox_rows, "finish", "before"),
}
EDITED = {
    "after the first message, before its id is stored": Step(TeamsAdapter, "send", "after"),
    "after its id is stored": Step(inbox.Claim, "remember", "after"),
    "in the middle of the edits": Step(TeamsAdapter, "update", "after", 2),
    "after the last update, before the event is closed": Step(inbox_rows, "finish", "before"),
}
WHISPERED = {
    "after the targeted message, before its id is stored": Step(TeamsAdapter, "send", "after", when=whispered),
    "before the targeted update": Step(TeamsAdapter, "update", "before", when=whispered),
    "after the targeted update": Step(TeamsAdapter, "update", "after", when=whispered),
}
STEPS = STREAMED | EDITED | WHISPERED


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: Step) -> None:
    original: Callable[..., Any] = getattr(step.owner, step.name)
    left = step.count

    async def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        mine = step.when(*arguments)
        left -= mine
        if mine and left <= 0 and step.moment == "before":
            die()
        result = await original(*arguments, **options)
        if mine and left <= 0 and (step.moment == "after" or (step.moment == "committed" and result)):
            if step.moment == "committed":
                await arguments[0].commit()
            die()
        return result

    setattr(step.owner, step.name, deadly)


async def main(configuration: dict[str, Any]) -> None:
    live.TEMPO, paced.BUDGETS = TEMPO, BUDGETS
    double = TeamsDouble(url=configuration["url"], login_url=configuration["login_url"])
    engine = create_engine(configuration["database"])
    services = make_services(make_settings(double), engine, WordEmbedder(), SlowModel())
    if configuration["step"]:
        arm(STEPS[configuration["step"]])
    async with running_bot(services, double, configuration["port"]):
        print(f"ready {os.getpid()}", flush=True)
        await asyncio.Event().wait()


def serve() -> None:
    """Fork a bot for each line of standard input, and say when it is there and how it ended: imports cost once."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(main(json.loads(line)))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    serve()
