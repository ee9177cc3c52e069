"""Search at 10,000 to 1,000,000 chunks: latency, recall, building, size; beside FAISS and bm25s; concurrency.

``python -m bench.scale [SIZE ...]`` builds what is missing (a million chunks take about half an hour on two cores and
goes on where it was stopped), measures, keeps the numbers in the bench's folder, and draws all that are there into
``docs/scale.png``.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from assistant.embedded import embedded_postgres
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.lexical import query_terms
from bench import scale_peers
from bench.scale_data import FOLDER, Queries, queries
from bench.scale_index import Index, index
from bench.scale_measure import (
    TIMED,
    Renamed,
    concurrency,
    exact_bm25,
    exact_vectors,
    percentiles,
    recall,
    search,
)
from bench.world import DATA, ROOT, jsonl

SIZES = (10_000, 30_000, 100_000)
BESIDE = 100_000  # the size at which FAISS and bm25s are measured, too
JUDGED = 100  # questions whose BM25 is also searched exactly: that takes a second each at a million chunks
PLOT = ROOT / "docs" / "scale.png"


async def measure(sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """One document of numbers a size; milliseconds, shares and bytes."""
    asked = queries()
    results = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    with embedded_postgres(FOLDER) as url:
        for size in sizes:
            async with index(url, size) as built:
                results.append(_kept(size, await _measured(built, asked)))
    return results


async def _measured(built: Index, asked: Queries) -> dict[str, Any]:
    peers = scale_peers.build(built.size) if built.size == BESIDE else None
    arms = scale_peers.arms(peers, asked) if peers else {}
    found, seconds = await search(built, asked, arms)
    judged = range(0, len(asked.texts), len(asked.texts) // JUDGED)
    near, cosines = exact_vectors(built, asked)
    lexical = await exact_bm25(built, asked, judged)
    shares: dict[str, list[float]] = {arm: [] for arm in found if arm != "final"}
    for place in range(len(asked.texts)):
        for arm in ("dense", "faiss"):
            if arm in found:
                shares[arm].append(recall(found[arm][place], near[place].tolist(), cosines[place].tolist()))
    for place, rows in lexical.items():
        for arm in ("bm25", "bm25s"):
            if arm in found:
                shares[arm].append(recall(found[arm][place], [row.id for row in rows], [row.bm25 for row in rows]))
    return {
        "size": built.size,
        "ms": {arm: percentiles(some) for arm, some in seconds.items()},
        "recall@10": {arm: float(np.mean(some)) for arm, some in shares.items() if some},
        "same first ten": {arm: float(np.mean(np.array(some) == 1)) for arm, some in shares.items() if some},
        "seconds to build": built.seconds,
        "seconds of peers": peers.seconds if peers else {},
        "bytes": built.bytes,
    }


def _kept(size: int, result: dict[str, Any]) -> dict[str, Any]:
    """The result, put away; what took no time in this run keeps the time that it took then."""
    path = FOLDER / f"result-{size}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    result["seconds to build"] = before.get("seconds to build", {}) | result["seconds to build"]
    path.write_text(json.dumps(before | result, indent=1))
    return result


async def measure_concurrency(size: int = BESIDE) -> dict[int, dict[str, float]]:
    """By questions in flight, each embedded and searched, none of them asked before."""
    texts = list(dict.fromkeys(str(row["text"]) for row in jsonl(DATA / "feedbackqa" / "queries.jsonl")))
    random.Random(8).shuffle(texts)
    texts = [text for text in texts if 3 <= len(query_terms(text)) <= 12]
    embedder = TransformerEmbedder(None, threads=2)
    await embedder.load()
    with embedded_postgres(FOLDER) as url:
        async with index(url, size) as built:
            result = await concurrency(built, texts, Renamed(embedder))
    await embedder.close()
    return result


def report(results: Sequence[dict[str, Any]]) -> None:
    for result in results:
        size = f"scale, {result['size']:,}"
        for arm, times in result["ms"].items():
            found = result["recall@10"].get(arm)
            shown = (
                f"  recall@10 {found:.3f}, same ten {result['same first ten'][arm]:.3f}" if found is not None else ""
            )
            print(f"{size} {arm:14s} " + "  ".join(f"{name} {value:.2f}" for name, value in times.items()) + shown)
        if "faiss + bm25s" in result["ms"]:
            theirs = result["ms"]["faiss + bm25s"]
            for arm in ("hybrid", "final"):
                ratios = {name: value / theirs[name] for name, value in result["ms"][arm].items()}
                print(f"{size} {arm} / both: " + "  ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
        print(
            f"{size} built: " + "  ".join(f"{name} {some:.0f} s" for name, some in result["seconds to build"].items())
        )
        print(
            f"{size} on disk: " + "  ".join(f"{name} {some / 2**20:.0f} MiB" for name, some in result["bytes"].items())
        )


def report_concurrency(results: dict[int, dict[str, float]]) -> None:
    for flight, values in results.items():
        print(f"scale, {flight:2d} in flight: " + "  ".join(f"{name} {value:.1f}" for name, value in values.items()))


def plot(path: Path = PLOT) -> None:
    """Latency of all sizes that were measured, with the line of growth in step with the size beside it."""
    results = sorted(
        (json.loads(file.read_text()) for file in FOLDER.glob("result-*.json")), key=lambda result: result["size"]
    )
    sizes = [result["size"] for result in results]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = {"bm25": "#b8860b", "dense": "#2e7d6b", "hybrid": "#31579c", "final": "#8c2f39"}
    for arm in TIMED:
        for name, style in (("p95", "-"), ("p50", ":")):
            values = [result["ms"][arm][name] for result in results]
            axes.plot(sizes, values, style, marker="o", markersize=4, color=colours[arm], label=f"{arm}, {name}")
    start = results[0]["ms"]["hybrid"]["p95"]
    axes.plot(sizes, [start * size / sizes[0] for size in sizes], "--", color="#999999", label="in step with the size")
    top = max(result["ms"][arm]["p95"] for result in results for arm in TIMED)
    axes.set(xscale="log", yscale="log", ylim=(1, top * 2), xlabel="chunks", ylabel="ms a question, without embedding")
    axes.set_title("Search by the size of the index, one question at a time")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(ncols=2, fontsize=8, frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    report(asyncio.run(measure([int(size.replace("_", "")) for size in sys.argv[1:]] or SIZES)))
    report_concurrency(asyncio.run(measure_concurrency()))
    plot()
