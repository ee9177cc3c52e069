"""Where the examples come from: five real tables that ship inside scikit-learn, and three that we generate.

Idea.     Supervised learning starts from a table: n examples (rows), d features (columns) and one target per row.
          Real tables show whether a method works; generated ones show *why*, for there the truth is known.
Source.   R. A. Fisher 1936 (iris); Efron et al. 2004 (diabetes); UCI repository (breast cancer, wine, digits).
Left out. Missing values, text and images as they come: every table here is complete and numeric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import datasets

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

REGRESSION = ("diabetes",)
CLASSIFICATION = ("breast_cancer", "iris", "wine", "digits")


@dataclass(frozen=True)
class Table:
    """``x`` (n, d) features; ``y`` (n,) target, a number or a class 0..K-1; ``columns`` the d names of the features."""

    name: str
    x: Floats
    y: npt.NDArray[np.generic]
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.y)


def load(name: str) -> Table:
    """A real table by name.

    diabetes: 442 patients, 10 measurements in their own units, progression after a year. breast_cancer: 569 tumours,
    30 measurements. iris: 150 flowers, 4 lengths in cm. wine: 178 wines, 13 chemical values. digits: 1,797 pictures
    of 8 x 8 grey values 0..16.

    Raises ValueError for a name that is none of these.
    """
    if name == "diabetes":
        bunch = datasets.load_diabetes(scaled=False)  # scaled=True is standardised already, with *all* rows: a leak
    elif name in CLASSIFICATION:
        bunch = getattr(datasets, f"load_{name}")()
    else:
        raise ValueError(f"No table {name!r}; there are {', '.join((*REGRESSION, *CLASSIFICATION))}.")
    y = bunch.target
    if name == "breast_cancer":
        y = 1 - y  # scikit-learn's 1 is benign; by convention the positive class is the one that we look for
    columns = tuple(str(column) for column in bunch.feature_names)
    return Table(name, bunch.data.astype(np.float64), y, columns)  # (n, d), (n,)


def check(x: Floats, y: npt.NDArray[np.generic] | None = None) -> None:
    """What every fit here expects: x (n, d) without holes and, where given, y (n,). Raises ValueError."""
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"Features are a table of n rows and d columns, not an array of shape {x.shape}.")
    if y is not None and y.shape != x.shape[:1]:
        raise ValueError(f"{len(x)} rows of features need as many targets, not an array of shape {y.shape}.")
    if not np.isfinite(x).all() or (y is not None and not np.isfinite(y).all()):
        raise ValueError("The table holds NaN or infinite values.")


def line(rng: np.random.Generator, n: int, weights: Floats, noise: float) -> tuple[Floats, Floats]:
    """Normal features and y = 1 + x w + noise: x (n, d), y (n,). The truth of linear regression."""
    x = rng.standard_normal((n, len(weights)))  # (n, d)
    return x, 1 + x @ weights + noise * rng.standard_normal(n)  # (n, d), (n,)


def wave(x: Floats) -> Floats:
    """f(x) = sin(pi x) + x / 2 on -1..1, (n,) -> (n,): smooth, but no polynomial."""
    return np.sin(np.pi * x) + x / 2  # (n,)


def noisy_wave(rng: np.random.Generator, n: int, noise: float = 0.4) -> tuple[Floats, Floats]:
    """n draws of x uniform in -1..1 and y = f(x) + noise: x (n, 1), y (n,)."""
    x = rng.uniform(-1, 1, n)  # (n,)
    return x[:, None], wave(x) + noise * rng.standard_normal(n)  # (n, 1), (n,)


def blobs(rng: np.random.Generator, n: int, centres: Floats, spread: float = 1.0) -> tuple[Floats, Integers]:
    """n points around k centres (k, d), equally often: x (n, d), and y (n,) which centre it was."""
    y = rng.integers(len(centres), size=n)  # (n,)
    return centres[y] + spread * rng.standard_normal((n, centres.shape[1])), y  # (n, d), (n,)
