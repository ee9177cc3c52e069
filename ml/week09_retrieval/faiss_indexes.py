"""The same indexes in FAISS, with the same parameters: what you would use.

FAISS keeps each vector's place as its id, takes float32 tables, and returns squared distances, nearest first. Our
indexes follow that, so the two can be compared call by call. ``transplant_*`` go further and give FAISS *our* learned
parts (centres, codebooks), or read *its* graph: then both must return the same ids, and any difference is a bug rather
than another random start.

Source: Douze et al., "The Faiss library" (2024). Left out: its GPU indexes and its factory strings ("IVF64,PQ48").
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from ml.week09_retrieval.hnsw import HNSWIndex
from ml.week09_retrieval.ivf import IVFIndex
from ml.week09_retrieval.pq import IVFPQIndex, PQIndex


def flat(dimensions: int) -> Any:
    """Exact, by squared distance."""
    return faiss.IndexFlatL2(dimensions)


def ivf(dimensions: int, lists: int) -> Any:
    """Set ``index.nprobe`` before a search; the default is 1."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimensions), dimensions, lists)
    index.cp.min_points_per_centroid = 1  # it warns below 39 training vectors a centre, as we often have here
    return index


def pq(dimensions: int, parts: int) -> Any:
    """``parts`` bytes a vector."""
    index = faiss.IndexPQ(dimensions, parts, 8)
    index.pq.cp.min_points_per_centroid = 1
    return index


def ivfpq(dimensions: int, lists: int, parts: int) -> Any:
    """Codes of residuals in cells."""
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dimensions), dimensions, lists, parts, 8)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    return index


def hnsw(dimensions: int, m: int = 16, ef_construction: int = 100) -> Any:
    """Set ``index.hnsw.efSearch`` before a search; the default is 16."""
    index = faiss.IndexHNSWFlat(dimensions, m)
    index.hnsw.efConstruction = ef_construction
    return index


def transplant_ivf(ours: IVFIndex) -> Any:
    """A trained, empty FAISS IVF index with our centres."""
    quantizer = faiss.IndexFlatL2(ours.dimensions)
    quantizer.add(ours.centroids)
    index = faiss.IndexIVFFlat(quantizer, ours.dimensions, ours.lists)
    index.is_trained = True
    return index


def transplant_pq(ours: PQIndex) -> Any:
    """A trained, empty FAISS PQ index with our codebook."""
    index = faiss.IndexPQ(ours.quantizer.dimensions, ours.quantizer.parts, 8)
    faiss.copy_array_to_vector(ours.quantizer.trained().ravel(), index.pq.centroids)
    index.is_trained = True
    return index


def transplant_ivfpq(ours: IVFPQIndex) -> Any:
    """A trained, empty FAISS IVF-PQ index with our centres and codebook."""
    quantizer = faiss.IndexFlatL2(ours.dimensions)
    quantizer.add(ours.centroids)
    index = faiss.IndexIVFPQ(quantizer, ours.dimensions, ours.lists, ours.quantizer.parts, 8)
    faiss.copy_array_to_vector(ours.quantizer.trained().ravel(), index.pq.centroids)
    index.is_trained = True
    index.precompute_table()
    return index


def read_graph(theirs: Any, vectors: Any) -> HNSWIndex:
    """Our HNSW index over the graph that FAISS built, to search it with our code."""
    graph = theirs.hnsw
    levels = faiss.vector_to_array(graph.levels)  # (N,): on how many layers each node is
    offsets = faiss.vector_to_array(graph.offsets).astype(int)  # (N + 1,): where each node's links begin
    links = faiss.vector_to_array(graph.neighbors)  # links of layer 0, 1, … of each node; -1 fills unused places
    bounds = faiss.vector_to_array(graph.cum_nneighbor_per_level)  # where a layer's links begin within a node's
    ours = HNSWIndex(theirs.d)
    ours.vectors = np.ascontiguousarray(vectors, dtype=np.float32)  # (N, D)
    ours.entry = int(graph.entry_point)
    for layer in range(graph.max_level + 1):
        nodes = np.flatnonzero(levels > layer)
        spans = {int(node): links[offsets[node] + bounds[layer] : offsets[node] + bounds[layer + 1]] for node in nodes}
        ours.layers.append({node: span[span >= 0].tolist() for node, span in spans.items()})
    return ours
