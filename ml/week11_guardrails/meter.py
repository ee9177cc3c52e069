"""What a question costs, and a cap that holds: reserve the worst case before the call, settle what it was afterwards.

The idea: cost = tokens times prices, and the completion's length is known only afterwards. A cap that is compared with
what *was* spent lets every request in flight through: a burst of fifty in one second costs fifty answers, whatever the
cap. So a request first reserves the most it can cost (its prompt, and ``max_tokens`` of completion), under one lock; it
is refused when the cap cannot bear that; and it gives the rest back when the bill is known.

    reserved = prompt * price_in + max_tokens * price_out     spent + reserved <= cap, always

Money is counted in whole micro-dollars: sums of floats drift, and a price per million tokens is a micro-dollar a token.

Left out: a database (Almanac keeps usage with each answer), cached-input prices, currencies.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ml.week11_guardrails.quantiles import Sketch


class OverBudget(Exception):
    """The cap cannot bear what the request may cost; it was not sent."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens, which is micro-dollars for one."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Micro-dollars, rounded up: a cap is not to be undercut by roundings."""
        exact = prompt_tokens * self.prompt + completion_tokens * self.completion
        return math.ceil(round(exact, 6))  # 0.1 * 3 is 0.30000000000000004 and costs no more for it


@dataclass
class Budget:
    """At most ``cap`` micro-dollars in a window of ``seconds``; safe to use from many threads."""

    cap: int
    seconds: float = 86_400.0
    clock: Callable[[], float] = time.monotonic
    spent: int = 0
    reserved: int = 0
    window: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, most: int) -> None:
        """Set ``most`` aside, or ``OverBudget``. Called before the model is."""
        with self._lock:
            self._roll()
            if self.spent + self.reserved + most > self.cap:
                left = self.cap - self.spent - self.reserved
                raise OverBudget(f"This may cost ${most / 1e6:.4f}; ${max(left, 0) / 1e6:.4f} is left for now.")
            self.reserved += most

    def settle(self, most: int, real: int) -> None:
        """Give back a reservation of ``most`` and book what it was: nothing where the call failed before any token."""
        with self._lock:
            self._roll()
            self.reserved -= most
            self.spent += real

    def _roll(self) -> None:
        """A new window starts with nothing spent; what is in flight stays reserved and is booked where it ends."""
        now = int(self.clock() // self.seconds)
        if now != self.window:
            self.window, self.spent = now, 0


@dataclass
class Usage:
    """What one call took; the caller fills it in while it runs."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Meter:
    """Cost by label (a person, a channel, a model) and latency by stage, behind one budget."""

    price: Price
    budget: Budget
    clock: Callable[[], float] = time.perf_counter
    costs: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    latency: defaultdict[str, Sketch] = field(default_factory=lambda: defaultdict(Sketch))
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def call(self, label: str, prompt_tokens: int, max_tokens: int) -> Iterator[Usage]:
        """Around one call of a model: refused beforehand where the budget is short, billed even where it raises.

        A model that reports more completion tokens than ``max_tokens`` broke its contract and is billed in full.
        """
        most = self.price.cost(prompt_tokens, max_tokens)
        self.budget.reserve(most)
        usage = Usage()
        try:
            with self.stage("model"):
                yield usage
        finally:
            real = self.price.cost(usage.prompt_tokens, usage.completion_tokens)
            self.budget.settle(most, real)
            with self._lock:
                self.costs[label] += real
                self.requests += 1

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; failed attempts count, for their askers waited too."""
        started = self.clock()
        try:
            yield
        finally:
            seconds = self.clock() - started
            with self._lock:
                self.latency[name].add(max(seconds, 0.0))

    def report(self) -> list[tuple[str, int, float, float]]:
        """(stage, count, p50, p95) in seconds, by name."""
        return [(name, s.count, s.quantile(0.5), s.quantile(0.95)) for name, s in sorted(self.latency.items())]
