"""A bot in a process of its own, which ends itself with SIGKILL at a named step.

The steps are set from outside: the product's functions are wrapped here, in the child, and nowhere else.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from assistant.database import answers, inbox
from bot.inbox import Claim, Inbox
from bot.slack.api import Api
from bot.slack.deliver import SlackFrontEnd
from bot.slack.stream import Writer
from tests.slack.world import FakeEmbedder, FakeModel, hurry, live, running_bot, settings

Function = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Orders:
    """What the child is to run, and at which step it is to die (None: never)."""

    database_url: str
    slack_url: str
    text: str
    die: str | None = None
    streams: bool = False  # the model takes its time, so that the answer is shown while it is written


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def pause(*_: object) -> None:
    """What a long garbage collection, or a sleeping laptop, looks like from outside."""
    os.kill(os.getpid(), signal.SIGSTOP)


def dying_before(function: Function) -> Function:
    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        die()

    return wrapped


def dying_after(function: Function, call: int = 1) -> Function:
    """Die when the function has returned for the ``call``-th time."""
    calls = 0

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        result = await function(*arguments, **named)
        calls += 1
        if calls == call:
            die()
        return result

    return wrapped


# Each step by its place in the life of an event: (object, attribute, how it is wrapped).
STEPS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "before the event is committed": (inbox, "store", dying_after),
    "stored, not acknowledged": (Inbox, "store", dying_after),
    "claimed": (SlackFrontEnd, "question", lambda _: die),
    "before the answer is committed": (answers, "save", dying_after),
    "answer stored, claim not checked": (Claim, "check", dying_before),
    "before the message is sent": (Api, "post", dying_before),
    "message sent, event open": (Api, "post", dying_after),
    "between the first part and the second": (Claim, "check", functools.partial(dying_after, call=2)),
    "two parts sent": (Api, "post", functools.partial(dying_after, call=2)),
    "before the end is committed": (inbox, "finish", dying_after),
}
STREAM_STEPS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "before the stream begins": (Api, "start_stream", dying_before),
    "stream begun, its id not kept": (Api, "start_stream", dying_after),
    "its id kept, nothing appended": (Writer, "remember", functools.partial(dying_after, call=2)),
    "appended": (Api, "append_stream", dying_after),
    "before the stream ends": (Api, "stop_stream", dying_before),
    "first stream ended": (Api, "stop_stream", dying_after),
    "second stream begun, its id not kept": (Api, "start_stream", functools.partial(dying_after, call=2)),
    "last stream ended, event open": (Writer, "finish", dying_after),
}


def main(orders: Orders, parent: Connection) -> None:
    """Run until killed; tells the parent the address once it listens."""
    before = {"while the model writes": die, "paused": pause}.get(orders.die or "")
    slow = {"piece": 3_000, "gap": 0.06} if orders.streams else {}
    model = FakeModel(orders.text, before=before, **slow)  # type: ignore[arg-type]
    step = {**STEPS, **STREAM_STEPS}.get(orders.die or "")
    if step is not None:
        owner, name, wrap = step
        setattr(owner, name, wrap(getattr(owner, name)))
    hurry(_put)
    live(_put, orders.streams)
    asyncio.run(_serve(orders, model, parent))


def _put(name: str, value: object) -> None:
    module, _, attribute = name.rpartition(".")
    setattr(importlib.import_module(module), attribute, value)


async def _serve(orders: Orders, model: FakeModel, parent: Connection) -> None:
    async with running_bot(orders.database_url, settings(orders.slack_url), model, FakeEmbedder()) as running:
        parent.send(running.url)
        await asyncio.Event().wait()
