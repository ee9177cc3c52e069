"""Ranking on judged collections: ``almanac eval retrieval``'s own measurement, on databases that are kept."""

from __future__ import annotations

import asyncio
from typing import Any

from assistant.evaluation.collection import read_collection
from assistant.evaluation.report import document
from assistant.evaluation.retrieval import evaluate
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.search import Searcher
from bench.world import DATA, corpus, server

SHOWN = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "p50_ms", "p95_ms")


async def measure(name: str, most: int = 1_000) -> dict[str, Any]:
    """The document of ``assistant.evaluation.report``, of the first ``most`` queries of the file."""
    collection = read_collection(DATA / name).first(most)
    with server() as url:
        embedder = TransformerEmbedder(None, threads=2)
        async with corpus(url, name, embedder) as filled:
            found = await evaluate(Searcher(filled.sessions, embedder), embedder, collection)
        await embedder.close()
    return document(collection, found)


def report(name: str, result: dict[str, Any]) -> None:
    for arm, values in result["arms"].items():
        print(f"retrieval, {name} {arm:8s} " + "  ".join(f"{key} {values[key]:.3f}" for key in SHOWN))
    for arm, differences in result["final_minus"].items():
        one = differences["ndcg@10"]
        interval = f"[{one['low']:+.3f}, {one['high']:+.3f}]"
        print(f"retrieval, {name} final minus {arm:8s} ndcg@10 {one['difference']:+.3f} {interval}")


if __name__ == "__main__":
    for collection_name in ("scifact", "feedbackqa"):
        report(collection_name, asyncio.run(measure(collection_name)))
