"""HNSW: a graph in which a few greedy steps lead from anywhere to the query's neighbourhood.

Every vector is a node with links to near ones. Layer 0 holds all nodes; each layer above holds about one in M of those
below, so its links are long. A search walks greedily on the top layer, drops to the next, and on layer 0 keeps the
``ef`` best nodes seen while it follows their links: skip list above, beam search below. Work grows with log N.

Two choices make it work. Links go to a *diverse* set of near nodes: a candidate that is nearer to a link already chosen
than to the new node adds no new direction and is passed over (algorithm 4). Without that rule, clusters become islands
that no link leaves. And links go both ways, so a full neighbour must choose its links again.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs" (2016),
algorithms 1, 2, 4 and 5. Left out: deletion, threads, and the paper's optional refilling with passed-over candidates.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from ml.week09_retrieval.flat import Ids, Vectors, as_vectors, smallest, squared_distances

Found = list[tuple[float, int]]  # squared distance and node, nearest first


class HNSWIndex:
    """``m`` links for a new node and at most ``m`` a node on the upper layers, ``2 m`` on layer 0.

    ``ef_construction`` nodes are considered as neighbours of a new one; ``ef`` nodes are kept during a search.
    """

    def __init__(self, dimensions: int, m: int = 16, ef_construction: int = 100, ef: int = 50, seed: int = 0) -> None:
        if m < 2 or min(ef_construction, ef) < 1:
            raise ValueError("HNSW needs m of at least 2, and ef_construction and ef of at least 1.")
        self.dimensions, self.m, self.ef_construction, self.ef = dimensions, m, ef_construction, ef
        self.generator = np.random.default_rng(seed)
        self.vectors: Vectors = np.empty((0, dimensions), dtype=np.float32)
        self.layers: list[dict[int, list[int]]] = []  # layers[l][node] = the nodes it links to
        self.entry = -1  # a node of the top layer, where every search starts
        self.compared = 0

    def add(self, vectors: npt.ArrayLike) -> None:
        """Insert vectors (N, D) one after the other; ids count on from those already here."""
        first = len(self.vectors)
        self.vectors = np.concatenate([self.vectors, as_vectors(vectors, self.dimensions)])  # (N, D)
        for node in range(first, len(self.vectors)):
            self._insert(node)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Vectors, Ids]:
        """Squared distances and ids, each (Q, k), nearest first; -1 where the walk saw fewer than k."""
        table = as_vectors(queries, self.dimensions)  # (Q, D)
        rows = [self._search_one(query, max(self.ef, k)) for query in table]
        distances, ids = zip(*(_as_row(row, k) for row in rows), strict=True)
        return np.concatenate(distances), np.concatenate(ids)

    def _search_one(self, query: Vectors, ef: int) -> Found:
        """Algorithm 5: one nearest node a layer on the way down, ``ef`` of them on layer 0."""
        if self.entry < 0:
            return []
        found = [(self._distances(query, [self.entry])[0], self.entry)]
        for layer in reversed(self.layers[1:]):
            found = self._search_layer(query, found, 1, layer)
        return self._search_layer(query, found, ef, self.layers[0])

    def _insert(self, node: int) -> None:
        """Algorithm 1: descend to the node's level, then find and link its neighbours on each layer below."""
        # level = floor(-ln(uniform) · 1 / ln m), so that P(level >= l) = m^-l
        level = int(-np.log(1 - self.generator.random()) / np.log(self.m))
        query = self.vectors[node]  # (D,)
        found: Found = [(self._distances(query, [self.entry])[0], self.entry)] if self.layers else []
        for depth in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[depth]
            if depth > level:
                found = self._search_layer(query, found, 1, layer)
                continue
            found = self._search_layer(query, found, self.ef_construction, layer)
            self._link(node, self._diverse(found, self.m), layer, self.m if depth else 2 * self.m)
        while len(self.layers) <= level:  # the new top: the node stands alone there, and searches start from it
            self.layers.append({node: []})
            self.entry = node

    def _link(self, node: int, neighbours: list[int], layer: dict[int, list[int]], limit: int) -> None:
        """Link both ways; a neighbour with too many links keeps a diverse ``limit`` of them."""
        layer[node] = neighbours
        for neighbour in neighbours:
            links = layer[neighbour]
            links.append(node)
            if len(links) > limit:
                distances = self._distances(self.vectors[neighbour], links)
                layer[neighbour] = self._diverse(sorted(zip(distances, links, strict=True)), limit)

    def _search_layer(self, query: Vectors, entries: Found, ef: int, layer: dict[int, list[int]]) -> Found:
        """Algorithm 2: follow the nearest unexplored node until it is farther than the worst of the ``ef`` best."""
        seen = {node for _, node in entries}
        frontier = list(entries)  # min-heap: the nearest node whose links were not followed yet
        best = [(-distance, node) for distance, node in entries]  # max-heap by sign: the farthest of the kept on top
        heapq.heapify(frontier)
        heapq.heapify(best)
        while frontier:
            distance, node = heapq.heappop(frontier)
            if distance > -best[0][0]:
                break
            fresh = [link for link in layer[node] if link not in seen]
            seen.update(fresh)
            for near, link in zip(self._distances(query, fresh), fresh, strict=True):
                if len(best) < ef or near < -best[0][0]:
                    heapq.heappush(frontier, (near, link))
                    heapq.heappush(best, (-near, link))
                    if len(best) > ef:
                        heapq.heappop(best)
        return sorted((-distance, node) for distance, node in best)

    def _diverse(self, candidates: Found, limit: int) -> list[int]:
        """Algorithm 4: nearest first, a candidate is kept if no kept one is nearer to it than the new node is."""
        nodes = [node for _, node in candidates]
        between = squared_distances(self.vectors[nodes], self.vectors[nodes])  # (C, C)
        kept: list[int] = []
        closest = np.full(len(nodes), np.inf, dtype=np.float32)  # (C,): each candidate's distance to the nearest kept
        for place, (distance, _) in enumerate(candidates):
            if distance < closest[place]:
                kept.append(nodes[place])
                np.minimum(closest, between[place], out=closest)  # (C,)
                if len(kept) == limit:
                    break
        return kept

    def _distances(self, query: Vectors, nodes: list[int]) -> list[float]:
        """|q - v|² to each of the nodes: Python floats, for the heaps."""
        self.compared += len(nodes)
        gaps = self.vectors[nodes] - query  # (n, D)
        distances: list[float] = np.einsum("nd,nd->n", gaps, gaps).tolist()  # (n,)
        return distances


def _as_row(found: Found, k: int) -> tuple[Vectors, Ids]:
    """A row of results, (1, k) each, in order and filled up with -1."""
    distances = np.array([[distance for distance, _ in found]], dtype=np.float32)  # (1, n)
    return smallest(distances, k, np.array([node for _, node in found], dtype=np.int64))
