"""Rate limits as budgets: a call waits for its turn before the platform has to refuse it, and after it has."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

Clock = Callable[[], float]
Windows = Sequence[tuple[int, float]]  # at most so many calls in so many seconds

IDLE = 10_000  # keys kept before those that nobody waits for are dropped


class Pace:
    """Sliding windows for each pair of a budget's name and a key (a channel, a thread).

    Fair: callers go in the order they came. One process' view: several bots share a platform's limit, and what the
    platform then refuses arrives here as ``hold``.
    """

    def __init__(
        self,
        budgets: Mapping[str, Windows],
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._sleep = sleep
        self._longest = {name: max(calls for calls, _ in windows) for name, windows in budgets.items()}
        self._past: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)  # when calls went, or will go
        self._held: dict[tuple[str, str], float] = {}

    async def turn(self, name: str, key: str = "") -> float:
        """Wait for a free slot in every window of the budget, take it; returns the seconds waited.

        A slot is taken when the wait begins, so that the order is kept. A caller that is cancelled, or that finds the
        budget held when its time has come, leaves it unused.
        """
        begun = self._clock()
        while True:
            now = self._clock()
            start = max(now, self._next(name, key, now))
            past = self._past[name, key]
            past.append(start)
            while len(past) > self._longest[name]:
                past.popleft()
            if start > now:
                await self._sleep(start - now)
            if self._held.get((name, key), 0.0) <= self._clock():
                self._forget(now)
                return self._clock() - begun

    def free_in(self, name: str, key: str = "") -> float:
        """Seconds until a call could go; 0 when it could go now."""
        now = self._clock()
        return max(0.0, self._next(name, key, now) - now)

    def hold(self, name: str, key: str, seconds: float) -> None:
        """Let nobody go before so many seconds have passed: the platform said so."""
        until = self._clock() + seconds
        self._held[name, key] = max(until, self._held.get((name, key), 0.0))

    def _next(self, name: str, key: str, now: float) -> float:
        """The earliest time, on our clock, that keeps every window."""
        past = self._past[name, key]
        earliest = max(self._held.get((name, key), now), past[-1] if past else now)
        for calls, seconds in self._budgets[name]:
            if len(past) >= calls:
                earliest = max(earliest, past[-calls] + seconds)
        return earliest

    def _forget(self, now: float) -> None:
        if len(self._past) < IDLE:
            return
        self._held = {pair: until for pair, until in self._held.items() if until > now}
        for pair, past in list(self._past.items()):
            longest = max((seconds for _, seconds in self._budgets[pair[0]]), default=0.0)
            if past[-1] + longest < now:
                del self._past[pair]
