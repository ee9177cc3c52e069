"""Ranking on BEIR-style collections, through the real index and the real search: BM25, vectors, and both."""

from __future__ import annotations

import asyncio
import statistics
import time

import ir_measures
from ir_measures import RR, R, nDCG

from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.ranking import ARMS, Ranking
from assistant.knowledge.search import Searcher
from bench.world import DATA, Corpus, corpus, jsonl, qrels, server

MEASURES = [nDCG @ 10, R @ 10, RR @ 10]
DEPTH = 60  # passages, from which the best of each document is taken


async def measure(name: str, most: int = 1_000) -> dict[str, dict[str, float]]:
    """Arm -> measure or percentile -> value. At most ``most`` queries, the first of the file."""
    judged = qrels(DATA / name)
    queries = {str(row["id"]): str(row["text"]) for row in jsonl(DATA / name / "queries.jsonl") if row["id"] in judged}
    queries = dict(list(queries.items())[:most])
    with server() as url:
        embedder = TransformerEmbedder(None, threads=2)
        async with corpus(url, name, embedder) as filled:
            results = {arm: await _run(filled, embedder, ranking, queries, judged) for arm, ranking in ARMS.items()}
        await embedder.close()
    return results


async def _run(
    filled: Corpus,
    embedder: TransformerEmbedder,
    ranking: Ranking,
    queries: dict[str, str],
    judged: dict[str, dict[str, int]],
) -> dict[str, float]:
    searcher = Searcher(filled.sessions, embedder, ranking)
    run: dict[str, dict[str, float]] = {}
    times = []
    for query_id, text in queries.items():
        await embedder.embed_query(text)  # cached: the search is timed without it
        start = time.perf_counter()
        found = await searcher.search(text, audience=Audience.everyone(), limit=DEPTH)
        times.append((time.perf_counter() - start) * 1000)
        scores: dict[str, float] = {}
        for hit in found.hits:
            scores.setdefault(hit.external_id, hit.score)
        run[query_id] = scores
    wanted = {query_id: judged[query_id] for query_id in queries}
    values = {str(measure): value for measure, value in ir_measures.calc_aggregate(MEASURES, wanted, run).items()}
    cuts = statistics.quantiles(times, n=100)
    return {**values, "p50_ms": cuts[49], "p95_ms": cuts[94]}


def report(name: str, results: dict[str, dict[str, float]]) -> None:
    for arm, values in results.items():
        print(f"retrieval, {name} {arm:8s} " + "  ".join(f"{measure} {value:.3f}" for measure, value in values.items()))


if __name__ == "__main__":
    for collection in ("scifact", "feedbackqa"):
        report(collection, asyncio.run(measure(collection)))
