"""The engine: one thread that owns the model and the batch, between a web server's tasks.

The idea: a forward pass would block the event loop, and two of them at once would only compete for the same memory. So
one thread runs ``Batcher.step`` for ever; requests go in through a bounded queue, tokens come out through a callback.
The bound is what keeps a server alive: a queue without one turns overload into waiting times that nobody waits for.

Left out: several processes or GPUs behind a load balancer, priorities, and fairness between users.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ml.week08_serving.batching import Batcher, Request

# Called from the engine's thread with each new token; with None when the request ends without a further one.
Listener = Callable[[int | None], None]


class Busy(Exception):
    """The queue is full: come back later."""


class Stopped(Exception):
    """The engine has stopped, politely or not: nobody will answer."""


class Engine:
    """Runs a ``Batcher`` in a thread. ``limit`` requests may wait; ``start`` and ``stop`` frame its life."""

    def __init__(self, batcher: Batcher, limit: int = 32) -> None:
        self.batcher, self.limit = batcher, limit
        self.inbox: deque[Request] = deque()
        self.listeners: dict[Request, Listener] = {}
        self.failure: Exception | None = None
        self.served = 0  # tokens
        self._stopping = False
        self._changed = threading.Condition()  # guards everything above
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether requests can be served."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step at hand, end every request, and wait for the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request; raises ``Busy``, ``Stopped``, or ValueError when it fits no slot."""
        if len(request.prompt) + request.max_tokens > self.batcher.cache.context:
            raise ValueError(f"The prompt and its answer do not fit the {self.batcher.cache.context} tokens of a slot.")
        with self._changed:
            if not self.alive:
                raise Stopped
            self.inbox = deque(other for other in self.inbox if not other.cancelled)
            if len(self.inbox) >= self.limit:
                raise Busy
            self.inbox.append(request)
            self.listeners[request] = listener
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """Nobody waits for this one any more: its slot is free again before the next step."""
        with self._changed:
            request.cancelled = True
            self.listeners.pop(request, None)

    def _run(self) -> None:
        try:
            while self._take():
                for request in self.batcher.step():
                    self._tell(request)
        except Exception as error:  # whatever it was, nobody may be left waiting for it
            self.failure = error
            logging.getLogger(__name__).exception("The engine has stopped.")
        with self._changed:
            self._stopping = True
            for listener in self.listeners.values():
                listener(None)
            self.listeners.clear()

    def _take(self) -> bool:
        """Wait for work and move as much of it into the batch as has a slot; False when it is time to stop."""
        with self._changed:
            while not (self._stopping or self.inbox or self.batcher.active):
                self._changed.wait()
            while self.inbox and len(self.batcher.active) + len(self.batcher.waiting) < self.batcher.slots:
                self.batcher.submit(self.inbox.popleft())
            return not self._stopping

    def _tell(self, request: Request) -> None:
        with self._changed:
            self.served += 1
            listener = self.listeners.get(request)
            if request.done:
                self.listeners.pop(request, None)
        if listener:
            listener(request.tokens[-1])
