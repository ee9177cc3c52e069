"""The bot's own time from question to last byte, with a model that answers at once.

Ten thousand chunks and more (SciFact's), the real bot process with its web API, a server that speaks OpenAI's protocol
and answers at once in a process of its own, and a client in this one: everything on the cores of one machine. The
passages have their verdicts of the document guard, as ingestion gives them; no question comes twice. Beside the times
stands the processor time that a question takes of the bot and of Postgres, which says the same on a busy machine, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psutil

from assistant.embedded import free_port
from assistant.guardrails.judging import Judge
from assistant.knowledge.embedding import TransformerEmbedder
from bench.world import DATA, HOME, corpus, jsonl, server
from workers.ingestion.judging import catch_up
from workers.ingestion.lease import NoLease
from workers.ingestion.report import Report

QUESTIONS = {1: 200, 20: 800}  # in flight -> asked


async def measure() -> dict[int, dict[str, float]]:
    """Milliseconds by the number of questions in flight."""
    with server() as url:
        embedder = TransformerEmbedder(None, threads=2)
        async with corpus(url, "scifact", embedder) as filled:
            await catch_up(filled.sessions, Judge(embedder, 2), Report(), NoLease())
            await embedder.close()
            async with _processes(filled.url) as (web, bot):
                return {flight: await _load(web, bot, flight, asked) for flight, asked in QUESTIONS.items()}


@contextlib.asynccontextmanager
async def _processes(database_url: str) -> AsyncIterator[tuple[str, int]]:
    """The address of the bot's web API, and the bot's process."""
    model, web = free_port(), free_port()
    environment = os.environ | {
        "ALMANAC_DATABASE_URL": database_url,
        "ALMANAC_PORT": str(web),
        "ALMANAC_LLM_BASE_URL": f"http://127.0.0.1:{model}/v1",
        "ALMANAC_LLM_MODEL": "instant",
        "ALMANAC_LOG_LEVEL": "WARNING",
    }
    log = (HOME / "bench-bot.log").open("w")
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.instant_model", str(model)),
        await asyncio.create_subprocess_exec(sys.executable, "-m", "bot", env=environment, stdout=log, stderr=log),
    ]
    try:
        await _ready(f"http://127.0.0.1:{web}/readyz")
        yield f"http://127.0.0.1:{web}", children[1].pid
    finally:
        for child in children:
            child.terminate()
            await child.wait()
        log.close()


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as client:
        for _ in range(600):
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit(f"The bot did not become ready; see {HOME / 'bench-bot.log'}.")


async def _load(web: str, bot: int, in_flight: int, asked: int) -> dict[str, float]:
    """A closed loop: each of ``in_flight`` askers asks again as soon as it is answered. No question comes twice."""
    texts = [str(row["text"]) for row in jsonl(DATA / "scifact" / "queries_train.jsonl")]
    random.Random(in_flight).shuffle(texts)
    questions = iter(f"{text} ({number})" for number, text in enumerate((texts * 3)[: asked + 40]))
    times: list[float] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as client:

        async def asker() -> None:
            for question in questions:
                start = time.perf_counter()
                await _ask(client, web, question)
                times.append((time.perf_counter() - start) * 1000)

        for _ in range(40):
            await _ask(client, web, next(questions))  # warm
        began, before = time.perf_counter(), _worked(bot)
        await asyncio.gather(*(asker() for _ in range(in_flight)))
        seconds, after = time.perf_counter() - began, _worked(bot)
    cuts = statistics.quantiles(times, n=100)
    took = {f"{name}_cpu_ms": 1000 * (after[name] - before[name]) / len(times) for name in after}
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "per_second": len(times) / seconds, **took}


def _worked(bot: int) -> dict[str, float]:
    """Seconds of processors that the bot has taken, and the server processes that work for its database: those that
    are there, and those that their parent has seen the end of."""
    working = [
        process
        for process in psutil.process_iter(["cmdline", "cpu_times", "ppid"])
        if (line := " ".join(process.info["cmdline"] or ())).startswith("postgres:") and " scifact " in line
    ]
    ended = [psutil.Process(parent).cpu_times() for parent in {process.info["ppid"] for process in working}]
    seconds = sum(sum(process.info["cpu_times"][:2]) for process in working if process.info["cpu_times"])
    return {
        "bot": sum(psutil.Process(bot).cpu_times()[:2]),
        "postgres": seconds + sum(parent.children_user + parent.children_system for parent in ended),
    }


async def _ask(client: aiohttp.ClientSession, web: str, question: str) -> None:
    body: dict[str, Any] = {"question": question, "conversation": str(uuid.uuid4())}
    async with client.post(f"{web}/api/ask", json=body) as response:
        text = await response.text()
        if response.status != 200 or '"outcome":"answered"' not in text:
            raise SystemExit(f"The bot did not answer: {text[-500:]}")


def report(results: dict[int, dict[str, float]]) -> None:
    for in_flight, result in results.items():
        figures = "  ".join(f"{name} {value:.1f}" for name, value in result.items())
        print(f"latency, {in_flight:2d} in flight: {figures}")


if __name__ == "__main__":
    report(asyncio.run(measure()))
