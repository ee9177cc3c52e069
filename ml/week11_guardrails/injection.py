"""An injection classifier: does this text try to give the assistant orders?

The idea: attacks have a manner (orders to the model, roles, "from now on"), spread over thousands of signs. Count
character n-grams, hash them into a fixed number of columns (no vocabulary to ship, no unknown word), weigh them by
idf, and fit a logistic regression (week 1) with an L2 penalty. Characters survive misspelling better than words do. The
keyword list that most filters begin with is here, too, as the baseline it is.

Sources: feature hashing (Weinberger and others 2009); the manner of the attacks: Perez and Ribeiro 2022. Left out: a
fine-tuned encoder (stronger, a thousand times slower), and the belief that any classifier is a wall (see README).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

KEYWORDS = re.compile(
    r"ignore (all|any|the|previous|prior|above)|disregard|jailbreak|system prompt|you are now|pretend|act as|"
    r"developer mode|\bDAN\b|no restrictions|without (any )?(filter|restriction|limit)|do anything now|bypass|override",
    re.IGNORECASE,
)


def keyword_score(text: str) -> float:
    """How many different keywords occur: the baseline."""
    return float(len({match[0].lower() for match in KEYWORDS.finditer(text)}))


def normalise(text: str) -> str:
    """One spelling for look-alikes: compatibility forms, no invisible characters, one blank, lower case.

    Zero-width characters and full-width letters are the oldest way past a filter. Digits stay apart from letters.
    """
    text = unicodedata.normalize("NFKC", text)
    text = "".join(" " if c.isspace() else c for c in text if unicodedata.category(c) != "Cf")
    return re.sub(r"\s+", " ", text).strip().lower()


def grams(text: str, low: int = 3, high: int = 5, head: int = 2_000) -> set[int]:
    """Hashes of the n-grams inside words, of words and of word pairs, in the first and last ``head`` characters.

    A set, not counts: a repeated order is no worse than one, and long texts should not win by length.
    """
    text = normalise(text)
    if len(text) > 2 * head:
        text = f"{text[:head]} {text[-head:]}"  # attacks hide at either end of a long paste
    words = re.findall(r"\w+|[^\w\s]", text)
    found = {zlib.crc32(word.encode()) for word in words}
    found |= {zlib.crc32(f"{a} {b}".encode()) for a, b in pairwise(words)}
    for word in words:
        padded = f" {word} "
        for n in range(low, high + 1):
            found |= {zlib.crc32(padded[i : i + n].encode()) for i in range(len(padded) - n + 1)}
    return found


def features(texts: list[str], columns: int = 2**15) -> csr_matrix:
    """(N, ``columns``) hashed n-grams, 0 or 1. Two may share a column; with this many that costs little."""
    rows = [np.unique(np.fromiter(grams(text), np.uint32) % columns) for text in texts]
    pointers = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    indices = np.concatenate(rows) if rows else np.empty(0)
    return csr_matrix((np.ones(len(indices)), indices, pointers), shape=(len(texts), columns))


@dataclass(frozen=True)
class Classifier:
    """A fitted detector: ``weights`` (C,), ``bias``, and the ``idf`` (C,) that scales its features."""

    weights: np.ndarray
    bias: float
    idf: np.ndarray

    def scale(self, counts: csr_matrix) -> csr_matrix:
        """Rows (N, C) weighed by idf and brought to length 1, so that a long text has no more votes."""
        return scaled(counts, self.idf)

    def logits(self, texts: list[str]) -> np.ndarray:
        """(N,) log-odds of being an attack."""
        z: np.ndarray = self.scale(features(texts, len(self.weights))) @ self.weights + self.bias
        return z

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """(N,) sigma(z) = 1 / (1 + e^-z)."""
        probabilities: np.ndarray = 1 / (1 + np.exp(-self.logits(texts)))
        return probabilities


def scaled(counts: csr_matrix, idf: np.ndarray) -> csr_matrix:
    weighed = counts.multiply(idf).tocsr()  # (N, C)
    lengths = np.sqrt(weighed.multiply(weighed).sum(1)).A1  # (N,)
    return csr_matrix(weighed.multiply(1 / np.maximum(lengths, 1e-12)[:, None]))


def loss_and_gradient(
    parameters: np.ndarray, x: csr_matrix, y: np.ndarray, weight: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    """Weighted log loss plus ``penalty``/2 |w|^2, and its gradient; ``parameters`` (C + 1,) end with the bias.

    L = sum_i v_i ln(1 + e^(-s_i z_i)) + penalty/2 |w|^2, with s = +1 or -1 and sum v = 1.
    dL/dz_i = v_i (sigma(z_i) - y_i).
    """
    w, b = parameters[:-1], parameters[-1]
    z = x @ w + b  # (N,)
    loss = weight @ np.logaddexp(0, np.where(y == 1, -z, z)) + penalty / 2 * w @ w
    error = weight * (1 / (1 + np.exp(-z)) - y)  # (N,)
    return float(loss), np.append(x.T @ error + penalty * w, error.sum())


def fit(texts: list[str], labels: np.ndarray, penalty: float = 1e-4, columns: int = 2**15) -> Classifier:
    """Fit on N ``texts`` with ``labels`` (N,) of 0 and 1; both classes weigh the same, however many there are."""
    labels = np.asarray(labels)
    if len(texts) != len(labels):
        raise ValueError(f"{len(texts)} texts, but {len(labels)} labels")
    if not 0 < labels.sum() < len(labels):
        raise ValueError("both attacks and harmless texts are needed to fit a classifier")
    counts = features(texts, columns)
    frequency = np.asarray(counts.sum(0)).ravel()  # (C,) in how many texts a column is set
    idf = np.log((1 + len(texts)) / (1 + frequency)) + 1
    weight = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (len(labels) - labels.sum()))  # (N,) sums to 1
    found = minimize(
        loss_and_gradient,
        np.zeros(columns + 1),
        args=(scaled(counts, idf), labels, weight, penalty),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500},
    )
    return Classifier(found.x[:-1], float(found.x[-1]), idf)


def groups(texts: list[str], shingle: int = 8) -> np.ndarray:
    """(N,) a group number a text: texts that share ``shingle`` words in a row belong together.

    Jailbreaks are copied and varied. A copy in the training part and one in the test part would flatter any
    classifier, so a split keeps a group whole.
    """
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    seen: dict[int, int] = {}
    for number, text in enumerate(texts):
        words = re.findall(r"\w+", normalise(text))
        for start in range(max(1, len(words) - shingle + 1)):
            key = zlib.crc32(" ".join(words[start : start + shingle]).encode())
            parent[root(number)] = root(seen.setdefault(key, number))
    return np.array([root(i) for i in range(len(texts))])
