"""IVF, the inverted file: sort the vectors into cells, and look only into the cells nearest to the query.

k-means gives each cell its centre. A search compares the query with all K centres, then with the vectors of the
``probes`` nearest cells. Work per query falls from N to about K + N · probes / K, least near K = √(N · probes). What is
lost are neighbours just across a border of the probed cells: more probes, more recall, more time.

Source: Jégou, Douze and Schmid (2011), who took it from text retrieval (Sivic and Zisserman, "Video Google", 2003).
Left out: training on a sample (FAISS uses at most 256 vectors a cell), and a second-level index over the centres.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml.week09_retrieval.flat import Ids, Vectors, as_vectors, smallest, squared_distances
from ml.week09_retrieval.kmeans import kmeans, nearest_centroids


class IVFIndex:
    """``lists`` cells over vectors of D dimensions; ``probes`` of them are searched."""

    def __init__(self, dimensions: int, lists: int, probes: int = 1, seed: int = 0) -> None:
        if not 1 <= probes <= lists:
            raise ValueError(f"probes must lie between 1 and the number of lists, {lists}; it is {probes}.")
        self.dimensions, self.lists, self.probes, self.seed = dimensions, lists, probes, seed
        self.centroids: Vectors | None = None
        self.vectors: Vectors = np.empty((0, dimensions), dtype=np.float32)  # (N, D), sorted by cell
        self.ids: Ids = np.empty(0, dtype=np.int64)  # (N,): the id of each stored row
        self.cells: Ids = np.empty(0, dtype=np.int64)  # (N,): the cell of each stored row
        self.compared = 0

    def train(self, vectors: npt.ArrayLike) -> None:
        """Learn the cells from vectors (N, D), at least one for each."""
        table = as_vectors(vectors, self.dimensions)
        self.centroids = kmeans(table, self.lists, np.random.default_rng(self.seed))  # (K, D)

    def add(self, vectors: npt.ArrayLike) -> None:
        """Store vectors (N, D), each in its nearest cell. Rows of a cell are kept together: a probe is one slice."""
        table = as_vectors(vectors, self.dimensions)
        cells = np.concatenate([self.cells, nearest_centroids(table, self._trained())])  # (N,)
        ids = np.concatenate([self.ids, len(self.ids) + np.arange(len(table))])  # (N,)
        order = np.argsort(cells, kind="stable")  # (N,)
        self.vectors = np.concatenate([self.vectors, table])[order]  # (N, D)
        self.ids, self.cells = ids[order], cells[order]

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Vectors, Ids]:
        """Squared distances and ids, each (Q, k), nearest first; -1 where the probed cells held fewer than k."""
        table = as_vectors(queries, self.dimensions)  # (Q, D)
        _, probed = smallest(squared_distances(table, self._trained()), self.probes)  # (Q, probes)
        self.compared += len(table) * self.lists
        bounds = np.searchsorted(self.cells, np.arange(self.lists + 1))  # (K + 1,): where each cell starts
        distances, ids = zip(*(self._scan(*row, bounds, k) for row in zip(table, probed, strict=True)), strict=True)
        return np.concatenate(distances), np.concatenate(ids)  # (Q, k) each

    def _scan(self, query: Vectors, probed: Ids, bounds: Ids, k: int) -> tuple[Vectors, Ids]:
        """One query (D,) against the vectors of its cells."""
        rows = np.concatenate([np.arange(bounds[cell], bounds[cell + 1]) for cell in probed])  # (n,)
        self.compared += len(rows)
        return smallest(squared_distances(query[None], self.vectors[rows]), k, self.ids[rows])  # (1, k) each

    def _trained(self) -> Vectors:
        if self.centroids is None:
            raise ValueError("the index must be trained before vectors are added or searched.")
        return self.centroids
