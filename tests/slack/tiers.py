"""Slack's rate tiers: calls a minute for each method, one message a second for each channel, in scaled time."""

from __future__ import annotations

import time
from collections import defaultdict, deque

MINUTE, SECOND = 60.0, 1.0
BURST = 12  # in ten seconds: one a second, and Slack bears a short burst
_PER_MINUTE = {
    "chat.startStream": 20,
    "chat.stopStream": 20,
    "chat.appendStream": 100,
    "chat.postEphemeral": 100,
    "users.info": 100,
    "files.info": 100,
    "views.open": 100,
    "views.update": 100,
    "views.publish": 100,
    "assistant.threads.setStatus": 100,
}


class Tiers:
    """``scale``: how much faster than the clock time goes; None: nothing is limited."""

    def __init__(self, scale: float | None = None) -> None:
        self.scale = scale
        self.refused: list[str] = []
        self._past: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def wait(self, method: str, channel: str) -> float | None:
        """Seconds (of the clock) to wait where the call is one too many; None where it may go."""
        if self.scale is None:
            return None
        if method == "chat.postMessage":
            key, calls, window = (method, channel), BURST, 10 * SECOND / self.scale
        else:
            key, calls, window = (method, ""), _PER_MINUTE.get(method, 50), MINUTE / self.scale
        now, past = time.monotonic(), self._past[key]
        while past and past[0] <= now - window:
            past.popleft()
        if len(past) >= calls:
            self.refused.append(method)
            return past[0] + window - now
        past.append(now)
        return None
