"""Learning-rate schedules: how the step length changes while training goes on.

Idea: long steps early, to get across the landscape; short steps late, as noise keeps a fixed step from settling. Before
that a warm-up: Adam's averages rest on few gradients at first, and a fresh network's gradients are at their wildest.

A schedule here is a plain function: step number (0, 1, 2, …) to a factor for the learning rate. Warm-up takes another
schedule and puts itself in front of it, so schedules combine without a class.

    step decay   γ^⌊t / every⌋
    cosine       f + (1 - f) (1 + cos(π t / T)) / 2       from 1 to the floor f, then stays there
    warm-up      (t + 1) / n for the first n steps        t + 1: a first step of length 0 would be wasted

Source: Loshchilov and Hutter, "SGDR", 2017 (cosine); Goyal and others, "Accurate, Large Minibatch SGD", 2017 (warm-up).

Left out: restarts, one-cycle, and schedules that watch the validation loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ml.week02_networks.optimisers import Optimiser

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """Always 1."""
    return 1.0


def step_decay(every: int, gamma: float) -> Schedule:
    """Multiply by ``gamma`` after each ``every`` steps."""
    if every < 1:
        raise ValueError(f"every must be at least 1, not {every}.")
    return lambda step: gamma ** (step // every)


def cosine(total: int, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 at step 0 down to ``floor`` at step ``total``."""
    if total < 1:
        raise ValueError(f"total must be at least 1, not {total}.")
    return lambda step: floor + (1 - floor) * (1 + math.cos(math.pi * min(step, total) / total)) / 2


def warm_up(steps: int, then: Schedule) -> Schedule:
    """Rise in equal parts to 1 over ``steps`` steps, then follow ``then`` from its own step 0."""
    if steps < 0:
        raise ValueError(f"steps must not be negative, not {steps}.")
    return lambda step: (step + 1) / steps if step < steps else then(step - steps)


class Scheduler:
    """Sets an optimiser's learning rate; call ``step`` once after each of the optimiser's steps."""

    def __init__(self, optimiser: Optimiser, schedule: Schedule) -> None:
        self.optimiser = optimiser
        self.schedule = schedule
        self.base = optimiser.lr
        self.steps = 0
        self._apply()

    def step(self) -> None:
        """The next step's learning rate."""
        self.steps += 1
        self._apply()

    def _apply(self) -> None:
        self.optimiser.lr = self.base * self.schedule(self.steps)
