"""MNIST from its original files, each byte checked, and what to use where it is absent.

Idea: a data set is an input like any other. A truncated download or labels that belong to other images train without an
error and cost a day, so the reader checks all that the format lets it check.

    bytes 0-3    0, 0, type (8 = unsigned byte), number of dimensions d
    next 4·d     the sizes, big-endian
    the rest     the numbers, row by row: exactly as many as the sizes say

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998; the format is called IDX. The fall-back
is the UCI set of 8x8 digits that comes with scikit-learn (Alpaydin and Kaynak 1998).

Left out: downloading, and IDX types other than unsigned bytes.

Shapes in the comments: (N, D) are N images of D = side² pixels.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.lesson import LessonError, data_folder

VARIABLE = "ALMANAC_MNIST"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class Split:
    """Images (N, D) float32, standardised with the training pixels' mean and deviation; labels (N,) int64 in 0..9."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """The first ``count`` of them; the training and validation parts are shuffled."""
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class Digits:
    """Three parts: ``train`` to fit on, ``validation`` to choose by, ``test`` to look at once, at the end."""

    name: str
    side: int  # pixels
    train: Split
    validation: Split
    test: Split


def load(folder: Path | None = None) -> Digits:
    """MNIST from ``folder``, else from the one in ALMANAC_MNIST, else from the shared data, else scikit-learn's digits.

    A folder holds the four original files, gzipped or not (LeCun's own, or torchvision's cache: its root or
    ``MNIST/raw``), or is a snapshot of the hub's ``ylecun/mnist`` (parquet files). Raises LessonError for a named
    folder without MNIST, and for damaged files.
    """
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    found = named or data_folder("mnist")
    if found is None:
        return _scikit_digits()
    parts = read_folder(found)
    return _prepare("MNIST", parts["train"], parts["test"], held_out=len(parts["train"][1]) // 12)  # 55,000 + 5,000


def read_folder(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``train`` and ``test``: images (N, side, side) uint8 and labels (N,) uint8, as stored."""
    from ml.week02_networks.mnist_hub import read_parquet

    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):  # the last two as torchvision lays them out
        paths = {part: [_locate(place, name) for name in names] for part, names in FILES.items()}
        if all(path for pair in paths.values() for path in pair):
            return {part: read_pair(*pair) for part, pair in paths.items()}
    if any(folder.rglob("train-*.parquet")):
        return {part: check_pair(folder, *read_parquet(folder, part)) for part in FILES}
    raise LessonError(
        f"{folder} does not hold MNIST: expected {FILES['train'][0]}[.gz] and its three companions, "
        f"or the hub's train-*.parquet; --mnist or {VARIABLE} names another folder."
    )


def _locate(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def read_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """An images file and its labels file, checked against each other: (N, side, side) and (N,), both uint8."""
    return check_pair(images, read_idx(images, dimensions=3), read_idx(labels, dimensions=1))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """One IDX file of unsigned bytes, gzipped where its name says so; an array with ``dimensions`` axes."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:  # gzip's own checksum is among what it checks
        raise LessonError(f"{path} is damaged: {error}.") from error
    if raw[:4] != bytes([0, 0, 8, dimensions]):
        raise LessonError(f"{path} is no IDX file of {dimensions}-dimensional unsigned bytes: it begins {raw[:4]!r}.")
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise LessonError(f"{path} is damaged: it ends inside its header.")
    sizes = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4).astype(int)  # (dimensions,)
    if len(raw) - header != sizes.prod():
        raise LessonError(f"{path} is damaged: {sizes.prod():,} values announced, {len(raw) - header:,} found.")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(sizes)


def check_pair(origin: Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same two arrays, if they can be MNIST's: equally many, square images, labels in 0..9."""
    if len(images) != len(labels) or len(labels) == 0:
        raise LessonError(f"{origin}: {len(images):,} images but {len(labels):,} labels.")
    if images.shape[1] != images.shape[2]:
        raise LessonError(f"{origin}: images of {images.shape[1]}x{images.shape[2]} pixels are not square.")
    if labels.max() > 9:
        raise LessonError(f"{origin}: label {labels.max()} is not a digit.")
    return images, labels


def _prepare(name: str, train: tuple, test: tuple, held_out: int) -> Digits:
    """Shuffle, split off ``held_out`` rows for validation, and standardise with what the training rows say."""
    order = np.random.default_rng(0).permutation(len(train[1]))  # (N,); fixed, so that runs with other seeds compare
    fit, choose = order[held_out:], order[:held_out]
    mean, deviation = train[0][fit].mean(), train[0][fit].std()  # one number each: a pixel that never varies has std 0

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        flat = images.reshape(len(images), -1)  # (N, D)
        return Split(((flat - mean) / deviation).astype(np.float32), labels.astype(np.int64))  # (N, D), (N,)

    return Digits(
        name,
        train[0].shape[1],
        split(train[0][fit], train[1][fit]),
        split(train[0][choose], train[1][choose]),
        split(*test),
    )


def _scikit_digits() -> Digits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images, digits.target  # (1797, 8, 8), (1797,)
    return _prepare(
        "scikit-learn's 8x8 digits (MNIST is absent here)",
        (images[:1_437], labels[:1_437]),
        (images[1_437:], labels[1_437:]),  # the last fifth in the file's order
        held_out=180,
    )
