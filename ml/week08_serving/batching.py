"""Continuous batching: let requests join and leave the batch between any two tokens.

The idea: one decoding step reads all weights once, however many requests share it, so a step for eight requests costs
little more than a step for one (``roofline.py``). A *static* batch is filled once and runs until its longest request
is done: short requests leave their rows idle, and newcomers wait. A *continuous* batch drops a finished request at
once and admits a waiting one before the next step. With one slot either is plain sequential generation.

Source: "Orca: A Distributed Serving System for Transformer-Based Generative Models" (Yu et al., 2022), there called
iteration-level scheduling. Left out: prefill in chunks (here a long prompt holds up everybody's next token),
preemption, and shared prompt prefixes.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.slots import SlotCache, decode, prefill


@dataclass(eq=False)
class Request:
    """One prompt and what became of it. Times are seconds of ``time.perf_counter``."""

    prompt: list[int]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: int | None = None
    tokens: list[int] = field(default_factory=list)  # the answer so far
    cancelled: bool = False
    submitted: float = 0.0
    first: float | None = None  # when the first token came
    finished: float | None = None
    generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.prompt or self.max_tokens < 1 or self.temperature < 0:
            raise ValueError("A request needs a prompt, at least one token to write and a temperature of 0 or more.")
        # Its own source of chance: what a request draws must not depend on who shares its batch.
        self.generator = torch.Generator().manual_seed(self.seed)

    @property
    def done(self) -> bool:
        """Nothing is left to write."""
        ended = bool(self.tokens) and self.tokens[-1] == self.stop
        return self.cancelled or ended or len(self.tokens) >= self.max_tokens


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature), (…, V); at temperature 0 its limit, all weight on the largest logit."""
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)  # (…, V)
    return (logits / temperature).softmax(-1)  # (…, V)


def choose(logits: Tensor, request: Request) -> int:
    """The next token of ``request`` from its logits (V,)."""
    if request.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(probabilities(logits, request.temperature), 1, generator=request.generator))


class Batcher:
    """Runs requests through ``slots`` rows of one cache; ``step`` after ``step`` until nothing is left.

    ``continuous`` False gives the static batch. Not safe for several threads: one owner calls ``submit`` and ``step``.
    """

    def __init__(self, model: Decoder, slots: int = 8, context: int | None = None, continuous: bool = True) -> None:
        self.model, self.slots, self.continuous = model, slots, continuous
        self.cache = SlotCache(model, slots, context or model.config.context)
        self.waiting: deque[Request] = deque()
        self.active: list[Request] = []  # request i has slot i
        self.steps = 0  # decoding steps, each a forward pass
        self.rows = 0  # rows in those passes: rows / steps is the mean batch

    def submit(self, request: Request) -> None:
        """Queue a request. Raises ValueError where it could never fit a slot."""
        if len(request.prompt) + request.max_tokens > self.cache.context:
            raise ValueError(
                f"{len(request.prompt)} prompt tokens and {request.max_tokens} new ones do not fit "
                f"the {self.cache.context} of a slot."
            )
        request.submitted = request.submitted or time.perf_counter()
        self.waiting.append(request)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """Admit who fits, give everyone in the batch a token, drop who is done; returns who got a token."""
        self._retire()
        if fresh := self._admit():
            return fresh  # their first token came out of the prefill
        if not self.active:
            return []
        logits = decode(self.model, self.cache, [request.tokens[-1] for request in self.active])  # (B, V)
        self.steps += 1
        self.rows += len(self.active)
        running = [(row, request) for row, request in enumerate(self.active) if not request.done]
        for row, request in enumerate(self.active):
            if request.done:  # in a static batch, or just cancelled: computed for nothing, it must not grow
                self.cache.lengths[row] -= 1
        for row, request in running:
            self._write(request, logits[row])
        self._retire()
        return [request for _, request in running]

    def run(self, requests: list[Request]) -> None:
        """Submit all of ``requests`` and work until the last is finished."""
        for request in requests:
            self.submit(request)
        while self.waiting or self.active:
            self.step()

    def _admit(self) -> list[Request]:
        if self.active and not self.continuous:
            return []
        fresh: list[Request] = []
        while self.waiting and len(self.active) + len(fresh) < self.slots:
            request = self.waiting.popleft()
            if request.cancelled:
                request.finished = time.perf_counter()
            else:
                fresh.append(request)
        if fresh:
            start = len(self.active)
            self.active += fresh
            logits = prefill(self.model, self.cache, start, [request.prompt for request in fresh])  # (B, V)
            for row, request in enumerate(fresh):
                self._write(request, logits[row])
        return fresh

    @staticmethod
    def _write(request: Request, logits: Tensor) -> None:
        request.tokens.append(choose(logits, request))
        now = time.perf_counter()
        request.first = request.first or now
        if request.done:
            request.finished = now

    def _retire(self) -> None:
        if not self.continuous and not all(request.done for request in self.active):
            return  # the static batch keeps its finished rows, and computes them for nothing
        for row in reversed(range(len(self.active))):
            if self.active[row].done:
                request, last = self.active[row], self.active.pop()
                request.finished = request.finished or time.perf_counter()
                if last is not request:  # the last request takes over the free row, so that the rows stay together
                    self.active[row] = last
                    self.cache.move(len(self.active), row)
