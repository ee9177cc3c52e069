"""Product quantisation: a vector of 384 floats (1,536 bytes) kept as 48 bytes, and searched without unpacking.

The vector is cut into M parts, and each part is replaced by the nearest of 256 learned points: one byte. M bytes can
then name 256^M different vectors, though only 256·M points were learned. That product is the whole trick.

Distances are *asymmetric* (ADC): the query stays exact, only the stored vectors are rounded. For one query the squared
distance from each of its parts to each of the 256 points goes into a table; a stored vector's distance is then M
look-ups and a sum:

    |q - x|²  ≈  |q - decode(code)|²  =  Σ_m  table[m, code_m]        table[m, j] = |q_m - codebook[m, j]|²

Source: Jégou, Douze and Schmid, "Product quantization for nearest neighbor search" (2011). Left out: the learned
rotation before the cut (OPQ), 4-bit codes scanned in registers (fast scan), and re-ranking by the full vectors, which
the exercises add.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml.week09_retrieval.flat import Ids, Vectors, as_vectors, smallest, squared_distances
from ml.week09_retrieval.ivf import IVFIndex
from ml.week09_retrieval.kmeans import kmeans, nearest_centroids

POINTS = 256  # one byte a part

Codes = npt.NDArray[np.uint8]


class ProductQuantizer:
    """``parts`` bytes for a vector of D dimensions; D must be a multiple of ``parts``."""

    def __init__(self, dimensions: int, parts: int, seed: int = 0) -> None:
        if parts < 1 or dimensions % parts:
            raise ValueError(f"{dimensions} dimensions cannot be cut into {parts} equal parts.")
        self.dimensions, self.parts, self.width, self.seed = dimensions, parts, dimensions // parts, seed
        self.codebook: Vectors | None = None  # (M, 256, D / M)

    def train(self, vectors: npt.ArrayLike) -> None:
        """Learn 256 points for each part from vectors (N, D) with N at least 256."""
        split = self._split(as_vectors(vectors, self.dimensions))  # (M, N, D / M)
        generator = np.random.default_rng(self.seed)
        self.codebook = np.stack([kmeans(part, POINTS, generator) for part in split])  # (M, 256, D / M)

    def encode(self, vectors: npt.ArrayLike) -> Codes:
        """Codes (N, M): for each part, which point is nearest."""
        split = self._split(as_vectors(vectors, self.dimensions))  # (M, N, D / M)
        columns = [nearest_centroids(part, points) for part, points in zip(split, self.trained(), strict=True)]
        return np.stack(columns, axis=1).astype(np.uint8)  # (N, M)

    def decode(self, codes: Codes) -> Vectors:
        """The vectors (N, D) that the codes (N, M) stand for."""
        points = self.trained()[np.arange(self.parts), codes]  # (N, M, D / M)
        return points.reshape(len(codes), self.dimensions)  # (N, D)

    def tables(self, queries: Vectors) -> Vectors:
        """Squared distances from each part of each query (Q, D) to each point: (Q, M, 256)."""
        split = self._split(queries)  # (M, Q, D / M)
        parts = [squared_distances(part, points) for part, points in zip(split, self.trained(), strict=True)]
        return np.stack(parts, axis=1)  # (Q, M, 256)

    def trained(self) -> Vectors:
        if self.codebook is None:
            raise ValueError("the quantiser must be trained before it encodes or decodes.")
        return self.codebook

    def _split(self, vectors: Vectors) -> Vectors:
        """(N, D) -> (M, N, D / M)."""
        return np.ascontiguousarray(vectors.reshape(len(vectors), self.parts, self.width).swapaxes(0, 1))


def look_up(table: Vectors, codes: Codes) -> Vectors:
    """Σ_m table[m, code_m] for a query's table (M, 256) and codes (N, M): approximate squared distances (N,)."""
    return table[np.arange(len(table)), codes].sum(axis=1)  # (N, M) -> (N,)


class PQIndex:
    """All vectors as codes, all scanned: D / M · 4 times smaller than flat, with rounded distances."""

    def __init__(self, dimensions: int, parts: int, seed: int = 0) -> None:
        self.quantizer = ProductQuantizer(dimensions, parts, seed)
        self.codes: Codes = np.empty((0, parts), dtype=np.uint8)  # (N, M)

    def train(self, vectors: npt.ArrayLike) -> None:
        self.quantizer.train(vectors)

    def add(self, vectors: npt.ArrayLike) -> None:
        self.codes = np.concatenate([self.codes, self.quantizer.encode(vectors)])  # (N, M)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Vectors, Ids]:
        """Approximate squared distances and ids, each (Q, k), nearest first."""
        tables = self.quantizer.tables(as_vectors(queries, self.quantizer.dimensions))  # (Q, M, 256)
        return smallest(np.stack([look_up(table, self.codes) for table in tables]), k)  # (Q, k) each


class IVFPQIndex(IVFIndex):
    """Cells and codes together, the index of billion-vector collections.

    What is encoded is the residual x - c(x), how far a vector lies from its cell's centre: residuals are small, so the
    same 256 points describe them more finely. The query's table then differs from cell to cell, for it is the table of
    q - c.
    """

    def __init__(self, dimensions: int, lists: int, parts: int, probes: int = 1, seed: int = 0) -> None:
        super().__init__(dimensions, lists, probes, seed)
        self.quantizer = ProductQuantizer(dimensions, parts, seed)
        self.codes: Codes = np.empty((0, parts), dtype=np.uint8)  # (N, M), sorted by cell

    def train(self, vectors: npt.ArrayLike) -> None:
        super().train(vectors)
        table = as_vectors(vectors, self.dimensions)
        self.quantizer.train(table - self._trained()[nearest_centroids(table, self._trained())])  # residuals (N, D)

    def add(self, vectors: npt.ArrayLike) -> None:
        """Store vectors (N, D) as codes. Added once: the rows are sorted by cell as they come."""
        if len(self.ids):
            raise ValueError("this index takes its vectors in one call of add.")
        table = as_vectors(vectors, self.dimensions)
        cells = nearest_centroids(table, self._trained())  # (N,)
        order = np.argsort(cells, kind="stable")  # (N,)
        self.ids, self.cells = order, cells[order]
        self.codes = self.quantizer.encode((table - self._trained()[cells])[order])  # (N, M)

    def _scan(self, query: Vectors, probed: Ids, bounds: Ids, k: int) -> tuple[Vectors, Ids]:
        tables = self.quantizer.tables(query - self._trained()[probed])  # (probes, M, 256)
        slices = [slice(bounds[cell], bounds[cell + 1]) for cell in probed]
        distances = [look_up(table, self.codes[part]) for table, part in zip(tables, slices, strict=True)]
        self.compared += sum(map(len, distances))
        return smallest(np.concatenate(distances)[None], k, np.concatenate([self.ids[part] for part in slices]))
