"""Ours against FAISS on the same vectors: recall, time and work, for one setting after the other.

Time is CPU time of one thread, one query a call, as a server sees them. Beside it stands the number of distances
computed: FAISS's loops are compiled and ours are not, so microseconds say who is faster while distances say whose
*algorithm* does less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.week09_retrieval import faiss_indexes
from ml.week09_retrieval.flat import FlatIndex, Ids, Vectors
from ml.week09_retrieval.hnsw import HNSWIndex
from ml.week09_retrieval.ivf import IVFIndex
from ml.week09_retrieval.metrics import recall_at
from ml.week09_retrieval.pq import IVFPQIndex, PQIndex

PROBES = (1, 2, 4, 8, 16, 32)
BEAMS = (10, 20, 40, 80, 160)  # ef, and FAISS's efSearch
K = 10


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one index: recall@10 in 0..1, CPU microseconds and distances computed, both a query."""

    index: str
    library: str
    setting: int
    recall: float
    microseconds: float
    compared: float = float("nan")


def measure(index: Any, queries: Vectors, exact: Ids, name: str, library: str, setting: int) -> Point:
    """Search with each query (Q, D) by itself and compare the ids with ``exact`` (Q, >= 10)."""
    before = getattr(index, "compared", None)
    started = time.process_time()
    found = np.concatenate([index.search(query[None], K)[1] for query in queries])  # (Q, 10)
    spent = time.process_time() - started
    work = float("nan") if before is None else (index.compared - before) / len(queries)
    return Point(name, library, setting, recall_at(found, exact, K), spent / len(queries) * 1e6, work)


def exact_neighbours(vectors: Vectors, queries: Vectors) -> Ids:
    """Ids of the 10 nearest of vectors (N, D) to queries (Q, D), shape (Q, 10)."""
    index = FlatIndex(vectors.shape[1])
    index.add(vectors)
    return index.search(queries, K)[1]


def flat_points(vectors: Vectors, queries: Vectors, exact: Ids) -> list[Point]:
    ours, theirs = FlatIndex(vectors.shape[1]), faiss_indexes.flat(vectors.shape[1])
    ours.add(vectors)
    theirs.add(vectors)
    pair = (("ours", ours), ("FAISS", theirs))
    return [measure(index, queries, exact, "flat", library, 0) for library, index in pair]


def ivf_points(vectors: Vectors, queries: Vectors, exact: Ids, lists: int, seed: int) -> list[Point]:
    ours = IVFIndex(vectors.shape[1], lists, seed=seed)
    theirs = faiss_indexes.ivf(vectors.shape[1], lists)
    for index in (ours, theirs):
        index.train(vectors)
        index.add(vectors)
    points = []
    for probes in (probes for probes in PROBES if probes <= lists):
        ours.probes = theirs.nprobe = probes
        points.append(measure(ours, queries, exact, "IVF", "ours", probes))
        points.append(measure(theirs, queries, exact, "IVF", "FAISS", probes))
    return points


def hnsw_points(vectors: Vectors, queries: Vectors, exact: Ids, seed: int, track: Callable[..., Any]) -> list[Point]:
    ours, theirs = HNSWIndex(vectors.shape[1], seed=seed), faiss_indexes.hnsw(vectors.shape[1])
    for start in track(range(0, len(vectors), 100), "HNSW, 100 vectors a step"):
        ours.add(vectors[start : start + 100])
    theirs.add(vectors)
    points = []
    for beam in BEAMS:
        ours.ef = theirs.hnsw.efSearch = beam
        points.append(measure(ours, queries, exact, "HNSW", "ours", beam))
        points.append(measure(theirs, queries, exact, "HNSW", "FAISS", beam))
    return points


def pq_points(vectors: Vectors, queries: Vectors, exact: Ids, parts: Sequence[int], seed: int) -> list[Point]:
    """PQ at several sizes; ``setting`` is the bytes a vector."""
    points = []
    for count in parts:
        pair = (("ours", PQIndex(vectors.shape[1], count, seed)), ("FAISS", faiss_indexes.pq(vectors.shape[1], count)))
        for library, index in pair:
            index.train(vectors)
            index.add(vectors)
            points.append(measure(index, queries, exact, "PQ", library, count))
    return points


def ivfpq_points(vectors: Vectors, queries: Vectors, exact: Ids, lists: int, parts: int, seed: int) -> list[Point]:
    """IVF-PQ with a quarter of the cells probed."""
    ours = IVFPQIndex(vectors.shape[1], lists, parts, seed=seed)
    theirs = faiss_indexes.ivfpq(vectors.shape[1], lists, parts)
    ours.probes = theirs.nprobe = max(lists // 4, 1)
    points = []
    for library, index in (("ours", ours), ("FAISS", theirs)):
        index.train(vectors)
        index.add(vectors)
        points.append(measure(index, queries, exact, "IVF-PQ", library, parts))
    return points


def fastest_at(
    index: Any,
    set_to: Callable[[int], None],
    settings: Sequence[int],
    queries: Vectors,
    exact: Ids,
    least: float = 0.95,
) -> Point:
    """The first setting whose recall is at least ``least``, else the last one."""
    for setting in settings:
        set_to(setting)
        point = measure(index, queries, exact, "", "FAISS", setting)
        if point.recall >= least:
            break
    return point


def scaling(vectors: Vectors, queries: Vectors, sizes: Sequence[int], track: Callable[..., Any]) -> list[Point]:
    """FAISS's flat, IVF and HNSW on ever more of ``vectors``, each at recall 0.95; ``setting`` is the size."""
    dimensions = vectors.shape[1]
    graph = faiss_indexes.hnsw(dimensions)
    points = []
    for size in track(sizes, "sizes"):
        part = vectors[:size]
        exact = exact_neighbours(part, queries)
        graph.add(part[graph.ntotal :])
        cells, whole = faiss_indexes.ivf(dimensions, int(4 * size**0.5)), faiss_indexes.flat(dimensions)
        cells.train(part)
        cells.add(part)
        whole.add(part)
        found = {
            "flat": measure(whole, queries, exact, "", "", 0),
            "IVF": fastest_at(
                cells, lambda n, i=cells: setattr(i, "nprobe", n), [2**n for n in range(9)], queries, exact
            ),
            "HNSW": fastest_at(
                graph, lambda n: setattr(graph.hnsw, "efSearch", n), [2**n for n in range(4, 11)], queries, exact
            ),
        }
        points += [Point(name, "FAISS", size, at.recall, at.microseconds) for name, at in found.items()]
    return points
