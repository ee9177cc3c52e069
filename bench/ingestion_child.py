"""One measured piece of work in a process of its own: ``python -m bench.ingestion_child MODE FOLDER URL THREADS``.

``alone``: the model only, on the texts that the chunker gives. ``ours``: the product's ingestion into a database, and
then once more, unchanged. The model is loaded and warm before the clock starts. Prints one JSON document.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from assistant.database.session import create_engine, create_sessions
from assistant.knowledge.chunking import chunk
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.telemetry import configure_logs
from workers.ingestion.parse import parse
from workers.ingestion.pipeline import BATCH_CHUNKS, Ingestion, Report

MAX_BYTES = 50 * 2**20
IN_FLIGHT = 3  # calls of the model at once, as in the pipeline


def texts_of(folder: Path, embedder: TransformerEmbedder) -> list[str]:
    texts = []
    for path in sorted(folder.rglob("*.md")):
        document = parse(path.name, path.read_bytes())
        texts += [piece.embedded_text(document.title) for piece in chunk(document, embedder.count_tokens)]
    return texts


async def alone(texts: list[str], embedder: TransformerEmbedder) -> dict[str, Any]:
    turn = asyncio.Semaphore(IN_FLIGHT)

    async def embed(some: list[str]) -> None:
        async with turn:
            await embedder.embed(some)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(embed(texts[start : start + BATCH_CHUNKS]) for start in range(0, len(texts), BATCH_CHUNKS)))
    return {"chunks": len(texts), "seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


async def ours(folder: Path, embedder: TransformerEmbedder, url: str) -> dict[str, Any]:
    engine = create_engine(url)
    ingestion = Ingestion(create_sessions(engine), embedder, MAX_BYTES)
    results = []
    for _ in range(2):
        report = Report()
        begun, cpu = time.perf_counter(), time.process_time()
        servers = _server_seconds(url)
        await ingestion.ingest_path(folder, report)
        results.append(
            (report, time.perf_counter() - begun, time.process_time() - cpu + _server_seconds(url) - servers)
        )
    await engine.dispose()
    (first, seconds, cpu), (again, again_seconds, _) = results
    if first.failed or again.chunks:
        raise SystemExit(f"Not as it should be: {first.failed[:3]}, {again.chunks} chunks of unchanged files.")
    return {
        "documents": first.added, "chunks": first.chunks, "seconds": seconds, "cpu": cpu, "again": again_seconds,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def _server_seconds(url: str) -> float:
    """Processor time of our connections' server processes, those that have ended left out."""
    name = url.partition("?")[0].rpartition("/")[2]
    total = 0.0
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        line = " ".join(process.info["cmdline"] or ())
        if line.startswith("postgres:") and f" {name} " in line and process.info["cpu_times"] is not None:
            total += process.info["cpu_times"].user + process.info["cpu_times"].system
    return total


async def main(mode: str, folder: Path, url: str, threads: int) -> None:
    configure_logs("WARNING", "console")
    embedder = TransformerEmbedder(None, threads)
    await embedder.load()
    for _ in range(3):
        await embedder.embed([f"Warm number {n}, and as long as a sentence is on most days." for n in range(64)])
    embedder.count_tokens(["warm"])
    result = await (alone(texts_of(folder, embedder), embedder) if mode == "alone" else ours(folder, embedder, url))
    await embedder.close()
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do, and torch takes its time


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
