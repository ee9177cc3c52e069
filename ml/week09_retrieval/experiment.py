"""Week 9, measured: indexes against FAISS, chunkers against each other, BM25, vectors and fusion against judgements.

The full run searches MiniLM's vectors of SciFact's 5,183 abstracts; embedding them is most of its time, and they are
kept in the ``--out`` folder for the next run. ``--quick`` takes word vectors (GloVe) for the indexes, and embeds a
small part of SciFact. Whatever data a machine lacks is skipped, and the output says so.
"""

from __future__ import annotations

import time

import bm25s
import faiss
import numpy as np

from ml.lesson import Run, main
from ml.week09_retrieval import chunk_study, compare, figures
from ml.week09_retrieval import retrieval_study as study
from ml.week09_retrieval.bm25 import BM25, METHODS, tokenise
from ml.week09_retrieval.compare import Point
from ml.week09_retrieval.data import Collection, clustered, feedback_pages, glove, scifact, smaller
from ml.week09_retrieval.embedding import MiniLM, embed_cached
from ml.week09_retrieval.flat import Vectors
from ml.week09_retrieval.retrieval_study import Retrieved


def experiment(run: Run) -> None:
    faiss.omp_set_num_threads(1)  # ours has one thread, so FAISS gets one
    collection = scifact()
    documents = queries = None
    if collection is None:
        run.say("There is no SciFact in shared/data: its part is skipped.")
    else:
        if run.quick:
            collection = smaller(collection, 60, 150, np.random.default_rng(run.seed))
        model = MiniLM()
        documents = _embedded(run, model, list(collection.documents.values()), "documents, 8 a step")  # (N, 384)
        queries = _embedded(run, model, list(collection.queries.values()), "questions, 8 a step")  # (Q, 384)
        _compare_bm25(run, collection)
        _judge(run, collection, documents, queries, model)
    _compare_chunkers(run)
    if run.quick or documents is None or queries is None:
        documents, queries = _other_vectors(run, 1_500 if run.quick else 8_000, 200)
    _compare_indexes(run, documents, queries)
    _scale(run)


def _embedded(run: Run, model: MiniLM, texts: list[str], label: str) -> Vectors:
    return embed_cached(texts, run.out / "cache", model, lambda steps: run.track(steps, label))


def _other_vectors(run: Run, count: int, queries: int) -> tuple[Vectors, Vectors]:
    """Unit vectors to index (N, D) and to ask for (Q, D): GloVe's words, else made up."""
    generator = np.random.default_rng(run.seed)
    table = glove(count + queries)
    run.say(f"indexes: {'GloVe word vectors' if table is not None else 'made-up vectors, for there is no GloVe'}")
    table = clustered(count + queries, 50, generator) if table is None else table
    order = generator.permutation(len(table))
    return table[order[queries:]], table[order[:queries]]


def _compare_bm25(run: Run, collection: Collection) -> None:
    """Our scores against bm25s's for every variant, and the time of both."""
    documents = [tokenise(text) for text in collection.documents.values()]
    asked = [tokenise(text) for text in collection.queries.values()]
    rows = []
    for method in METHODS:
        ours, theirs = BM25(documents, method), bm25s.BM25(method=method, dtype="float64")
        theirs.index(documents, show_progress=False)
        began = time.process_time()
        scores = np.array([ours.scores(query) for query in asked])  # (Q, N)
        between = time.process_time()
        expected = np.array([theirs.get_scores(query) for query in asked])  # (Q, N)
        spent = (between - began, time.process_time() - between)
        rows.append([method, float(np.abs(scores - expected).max()), *(part / len(asked) * 1e6 for part in spent)])
    run.table("BM25 against bm25s", ["variant", "largest difference", "ours µs/query", "bm25s µs/query"], rows)
    run.record("BM25: largest difference from bm25s", max(row[1] for row in rows))


def _judge(run: Run, collection: Collection, documents: Vectors, queries: Vectors, model: MiniLM) -> None:
    stem = study.stemmer()
    words = {method: study.by_words(collection, method, stem) for method in METHODS}
    retrieved = Retrieved(words["lucene"], study.by_vectors(collection, documents, queries))
    share = 0.5 if run.quick else _fit(run, documents, model)
    found = {
        "BM25, no stemming": study.by_words(collection),
        **{f"BM25 {method}": words[method] for method in METHODS},
        "MiniLM": retrieved.vectors,
        "RRF": study.by_rank_fusion(retrieved),
        f"weighted, {share:.1f} BM25": study.by_weight(retrieved, share),
    }
    values = {name: study.quality(result, collection) for name, result in found.items()}
    for name, value in values.items():
        run.record(f"nDCG@10 {name}", value.mean())
    gain = values["RRF"] - values["MiniLM"]  # (Q,): paired, so the queries' own difficulty cancels
    run.record("RRF over MiniLM, standard errors", gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain))))
    curve = [study.quality(study.by_weight(retrieved, share), collection).mean() for share in study.WEIGHTS]
    run.save(figures.retrieval(values, study.WEIGHTS.tolist(), curve), "retrieval")


def _fit(run: Run, documents: Vectors, model: MiniLM) -> float:
    """BM25's share, from 200 training queries."""
    whole = scifact("train")
    if whole is None:
        return 0.5
    part = smaller(whole, 200, len(whole.documents), np.random.default_rng(run.seed))
    asked = _embedded(run, model, list(part.queries.values()), "training questions")  # (200, 384)
    retrieved = Retrieved(study.by_words(part, stem=study.stemmer()), study.by_vectors(part, documents, asked))
    share = study.fitted_share(retrieved, part)
    run.say(f"weighted fusion: BM25's share fitted on 200 training queries is {share}")
    return share


def _compare_chunkers(run: Run) -> None:
    pages = feedback_pages(("Australia",) if run.quick else ("Australia", "UK"))
    if pages is None:
        run.say("There is no FeedbackQA in shared/data: the comparison of chunkers is skipped.")
        return
    sizes = (400, 800) if run.quick else (200, 400, 800, 1600)
    shares: dict[str, dict[int, float]] = {}
    for name in run.track(list(chunk_study.CHUNKERS), "chunkers"):
        chunker = chunk_study.CHUNKERS[name]
        shares[name] = {size: chunk_study.coverage(pages, chunker, size) for size in sizes}
    asked = sum(len(page.questions) for page in pages)
    rows = [[name, *by_size.values()] for name, by_size in shares.items()]
    run.table(f"Share of the answer found, {len(pages)} pages, {asked} questions", ["chunker", *map(str, sizes)], rows)
    for name, by_size in shares.items():
        run.record(f"chunks of 800: {name}", by_size[800])
    run.save(figures.chunkers(shares, chunk_study.BUDGET), "chunkers")


def _compare_indexes(run: Run, vectors: Vectors, queries: Vectors) -> None:
    exact = compare.exact_neighbours(vectors, queries)  # (Q, 10)
    lists, dimensions = (32 if run.quick else 64), vectors.shape[1]
    parts = [dimensions // width for width in ((10, 5) if dimensions == 50 else (16, 8))]
    flat = compare.flat_points(vectors, queries, exact)
    points = compare.ivf_points(vectors, queries, exact, lists, run.seed)
    points += compare.hnsw_points(vectors, queries, exact, run.seed, run.track)
    points += compare.pq_points(vectors, queries, exact, parts, run.seed)
    points += compare.ivfpq_points(vectors, queries, exact, lists, parts[-1], run.seed)
    rows = [[p.index, p.library, p.setting, p.recall, p.microseconds, p.compared] for p in [*flat, *points]]
    columns = ["index", "library", "probes / ef / bytes", "recall@10", "µs/query", "distances"]
    run.table(f"{len(vectors):,} vectors of {dimensions} dimensions, {len(queries)} queries", columns, rows)
    run.record("flat: FAISS's recall against ours", flat[1].recall)
    for index in ("IVF", "HNSW", "PQ", "IVF-PQ"):
        run.record(f"{index}: largest recall gap to FAISS", _gap(points, index))
    run.save(figures.recall_by_setting(points), "recall")
    run.save(figures.recall_by_cost(points, {point.library: point for point in flat}), "cost")


def _gap(points: list[Point], index: str) -> float:
    """The largest |our recall - FAISS's| at one setting."""
    recalls = {(point.setting, point.library): point.recall for point in points if point.index == index}
    settings = {setting for setting, _ in recalls}
    return max(abs(recalls[setting, "ours"] - recalls[setting, "FAISS"]) for setting in settings)


def _scale(run: Run) -> None:
    sizes = (500, 1_000, 2_000) if run.quick else (1_000, 4_000, 16_000, 64_000)
    vectors, queries = _other_vectors(run, sizes[-1], 200)
    points = compare.scaling(vectors, queries, sizes, run.track)
    rows = [[p.index, p.setting, p.recall, p.microseconds] for p in points]
    run.table("FAISS at recall 0.95, ever more vectors", ["index", "vectors", "recall@10", "µs/query"], rows)
    run.save(figures.time_by_size(points), "scaling")


if __name__ == "__main__":
    main(experiment, "Week 9: retrieval, from chunks to citations")
