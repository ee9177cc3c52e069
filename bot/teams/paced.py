"""The Bot Connector within its rate limits: each call waits for its turn; after ``Retry-After`` nobody goes early."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from bot.pace import Pace, Windows
from bot.teams.port import Chunk, Connector, Member, Message, Place, Refused

T = TypeVar("T")

# What Teams grants one bot: in one conversation, and in one tenant.
BUDGETS: dict[str, Windows] = {
    "thread": ((7, 1.0), (8, 2.0), (60, 30.0), (1_800, 3_600.0)),
    "app": ((50, 1.0),),
}
PATIENCE = 3.0  # seconds that a call waits here; a longer wait is given back to the inbox, which has others to serve
OVER_BUDGET = "OverBudget"
DEFAULT_HOLD = 1.0  # seconds, where Teams says 429 and not for how long


class PacedConnector:
    """A ``Connector`` over another. Over budget is ``Refused`` with 429, as if Teams had said it."""

    def __init__(self, connector: Connector, pace: Pace) -> None:
        self._connector = connector
        self._pace = pace

    async def send(self, place: Place, message: Message, reply_to: str | None) -> str:
        return await self._call(place, lambda: self._connector.send(place, message, reply_to))

    async def update(self, place: Place, activity_id: str, message: Message) -> None:
        await self._call(place, lambda: self._connector.update(place, activity_id, message))

    async def delete(self, place: Place, activity_id: str) -> None:
        await self._call(place, lambda: self._connector.delete(place, activity_id))

    async def typing(self, place: Place) -> None:
        await self._call(place, lambda: self._connector.typing(place))

    async def stream(self, place: Place, message: Message, chunk: Chunk) -> str:
        return await self._call(place, lambda: self._connector.stream(place, message, chunk))

    async def open_chat(self, place: Place) -> str:
        return await self._call(place, lambda: self._connector.open_chat(place))

    async def member(self, place: Place, who: str) -> Member:
        return await self._call(place, lambda: self._connector.member(place, who))

    async def _call(self, place: Place, call: Callable[[], Awaitable[T]]) -> T:
        thread, app = ("thread", place.conversation), ("app", place.tenant)
        wait = max(self._pace.free_in(*thread), self._pace.free_in(*app))
        if wait > PATIENCE:
            spread = random.uniform(0.0, 2.0)  # noqa: S311 - so that not all of them come back at once
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, OVER_BUDGET, wait + spread)
        await self._pace.turn(*thread)
        await self._pace.turn(*app)
        try:
            return await call()
        except Refused as error:
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._pace.hold(*thread, DEFAULT_HOLD if error.retry_after is None else error.retry_after)
            raise
