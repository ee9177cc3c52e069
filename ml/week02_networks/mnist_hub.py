"""MNIST as the Hugging Face hub keeps it: a table with a PNG file and a label in each row.

Idea: the same 70,000 images in the format that today's data sets come in: parquet, columns stored apart. A snapshot of
``ylecun/mnist`` lies, for instance, in ``~/.cache/huggingface/hub/datasets--ylecun--mnist/snapshots/<commit>``.

Source: the hub's data set card of ``ylecun/mnist``: columns ``image`` (a struct with ``bytes``) and ``label``.

Left out: downloading. ``datasets.load_dataset("ylecun/mnist")`` does that where the hub can be reached.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ml.lesson import LessonError


def read_parquet(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """``part`` (``train`` or ``test``): images (N, side, side) uint8 and labels (N,) uint8, from all its files."""
    try:
        import pyarrow.parquet
        from PIL import Image
    except ImportError as error:
        raise LessonError(f"Reading the hub's parquet files in {folder} needs the package {error.name}.") from error

    images, labels = [], []
    for path in sorted(folder.rglob(f"{part}-*.parquet")):
        table = pyarrow.parquet.read_table(path, columns=["image", "label"])
        pictures = [Image.open(io.BytesIO(row["bytes"])) for row in table["image"].to_pylist()]
        images += [np.asarray(picture) for picture in pictures]  # (side, side) each
        labels += table["label"].to_pylist()
    if not images:
        raise LessonError(f"{folder} holds no {part}-*.parquet file.")
    return np.stack(images).astype(np.uint8), np.array(labels, dtype=np.uint8)  # (N, side, side), (N,)
