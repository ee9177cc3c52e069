"""The load test: clients against the real server, and what they saw.

The idea: a *closed loop* of c clients, each sending its next request when the last one is answered. More clients fill
the batch, so tokens per second rise until the slots are full; from then on more clients only wait. Three numbers tell
the story: time to first token (what a reader feels), latency of the whole answer (median, and the 95th percentile, for
the unlucky), and tokens per second of all clients together (what the machine earns).

Left out: an *open loop*, with arrivals that do not wait for answers. Real users are one, and only it shows a queue
that grows without end (``exercises.py`` has a simulation).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np

from ml.lesson import LessonError


@dataclass(frozen=True)
class Sample:
    """What one client saw of one answer: seconds to the first piece of text and to the end, and tokens."""

    first: float
    latency: float
    tokens: int


@dataclass(frozen=True)
class Load:
    """What ``concurrency`` clients saw in ``seconds``."""

    concurrency: int
    seconds: float
    samples: list[Sample]

    @property
    def throughput(self) -> float:
        """Tokens a second of all clients together."""
        return sum(sample.tokens for sample in self.samples) / self.seconds

    def latency(self, percent: float) -> float:
        """A percentile of the whole answer's time in seconds."""
        return float(np.percentile([sample.latency for sample in self.samples], percent))

    def first(self, percent: float) -> float:
        """A percentile of the time to first token in seconds."""
        return float(np.percentile([sample.first for sample in self.samples], percent))


async def ask(client: httpx.AsyncClient, body: dict[str, object]) -> Sample:
    """One streamed answer, timed."""
    start, first, tokens = time.perf_counter(), None, 0
    async with client.stream("POST", "/generate", json={**body, "stream": True}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                first = first or time.perf_counter()
                tokens = json.loads(line.removeprefix("data: ")).get("tokens", tokens)
    end = time.perf_counter()
    return Sample((first or end) - start, end - start, tokens)


async def measure(url: str, concurrency: int, bodies: list[dict[str, object]]) -> Load:
    """Send all ``bodies`` from ``concurrency`` clients, each one request at a time."""
    waiting, samples = iter(bodies), []
    limits = httpx.Limits(max_connections=concurrency)

    async def work(client: httpx.AsyncClient) -> None:
        for body in waiting:  # all clients draw from the same iterator
            samples.append(await ask(client, body))

    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as client:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work(client))
    return Load(concurrency, time.perf_counter() - start, samples)


@contextmanager
def server(*arguments: str, patience: float = 120) -> Iterator[str]:
    """Run ``python -m ml.week08_serving.serve`` with ``arguments`` on a free port; yield its address, then stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ml.week08_serving.serve", "--port", str(port), *arguments]
    # One thread: matrices this small gain nothing from more, and the other core is for the clients.
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, time.monotonic() + patience)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LessonError(f"The server ended at once, with exit code {process.returncode}.")
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise LessonError("The server did not answer in time.")
