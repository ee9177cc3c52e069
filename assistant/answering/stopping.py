"""A stream that ends at a deadline, or when somebody asks it to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The asker wants no more of it."""


async def follow(
    stream: AsyncGenerator[T, None], deadline: float, stop: asyncio.Event | None = None
) -> AsyncGenerator[T, None]:
    """The items of ``stream``; ``TimeoutError`` at ``deadline`` (the loop's clock), ``Stopped`` once ``stop`` is set.

    No deadline runs while the caller holds an item: it would strike the caller. ``stream`` is closed in any case.
    """
    halt = None if stop is None else asyncio.create_task(stop.wait())
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                try:
                    item = await (anext(stream) if halt is None else _first(stream, halt))
                except StopAsyncIteration:
                    return
            yield item
    finally:
        if halt is not None:
            halt.cancel()
        await stream.aclose()


async def _first(stream: AsyncGenerator[T, None], halt: asyncio.Task[Literal[True]]) -> T:
    """The next item, unless the halt comes first."""
    step: asyncio.Task[T] = asyncio.create_task(_next(stream))
    try:
        await asyncio.wait({step, halt}, return_when=asyncio.FIRST_COMPLETED)
        if halt.done():
            raise Stopped
        return step.result()
    except _Ended:
        raise StopAsyncIteration from None
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})
        elif not step.cancelled():
            step.exception()  # looked at, so that nobody is told that it was not


async def _next(stream: AsyncGenerator[T, None]) -> T:
    try:
        return await anext(stream)
    except StopAsyncIteration:  # which a task cannot carry
        raise _Ended from None


class _Ended(Exception):
    """There are no more items."""
