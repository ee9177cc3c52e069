"""So many calls in so much time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Pace:
    """At most ``calls`` in any ``seconds``. One process's own; not shared among several."""

    def __init__(self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = calls
        self._seconds = seconds
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self) -> float:
        """0.0 when the call may be made now (and is counted), else the seconds until one may be."""
        now = self._clock()
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()
        if len(self._taken) >= self._calls:
            return self._taken[0] + self._seconds - now
        self._taken.append(now)
        return 0.0
