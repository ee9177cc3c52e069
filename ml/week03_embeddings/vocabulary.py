"""A vocabulary: words to numbers, and the two changes word2vec makes to plain word frequency.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality" (2013), section 2:

* Sub-sampling. "the" is a neighbour of everything and tells nothing. A word with share f of the corpus is kept with
  probability sqrt(t / f) + t / f, at most 1, so that frequent words thin out and windows reach further past them. (The
  paper prints sqrt(t / f); their C code, and gensim after it, has the second term. We take the code's.)
* Noise. The words to contrast with are drawn in proportion to count^0.75: between the uniform distribution (power 0)
  and the corpus (power 1), rare words get more than their share.

Left out: Huffman codes for hierarchical softmax, the older of the paper's two ways to avoid a sum over V words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Vocabulary:
    """``words`` from the most frequent to the rarest (ties in alphabetical order), ``counts`` (V,) beside them."""

    words: list[str]
    counts: np.ndarray

    @classmethod
    def of(cls, pieces: Iterable[Sequence[str]], minimum: int = 5) -> Vocabulary:
        """All words that occur ``minimum`` times or more; ValueError where no word does."""
        counted = Counter(word for piece in pieces for word in piece)
        kept = sorted(((-count, word) for word, count in counted.items() if count >= minimum))
        if not kept:
            raise ValueError(f"No word occurs {minimum} times; lower the minimum or give more text.")
        return cls([word for _, word in kept], np.array([-count for count, _ in kept]))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> number."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, pieces: Iterable[Sequence[str]]) -> Encoded:
        """The corpus as numbers; words outside the vocabulary vanish and their neighbours close up, as in word2vec."""
        rows = [[self.index[word] for word in piece if word in self.index] for piece in pieces]
        ids = np.array([number for row in rows for number in row], dtype=np.int64)  # (N,)
        return Encoded(ids, np.repeat(np.arange(len(rows)), [len(row) for row in rows]))  # both (N,)

    def keep_probability(self, threshold: float = 1e-3) -> np.ndarray:
        """min(1, sqrt(t / f) + t / f) for each word -> (V,); ``threshold`` t is a share of the corpus, 0 keeps all."""
        if threshold <= 0:
            return np.ones(len(self))  # (V,)
        ratio = threshold * self.counts.sum() / self.counts  # (V,), t / f
        return np.minimum(1.0, np.sqrt(ratio) + ratio)  # (V,)

    def noise(self, power: float = 0.75) -> np.ndarray:
        """P_n(w) = count(w)^power / sum over all words -> (V,), which adds up to 1."""
        weights = self.counts.astype(np.float64) ** power  # (V,)
        return weights / weights.sum()  # (V,)


@dataclass(frozen=True)
class Encoded:
    """A corpus as numbers: ``ids`` (N,) are words in reading order, ``piece`` (N,) says which piece each stands in."""

    ids: np.ndarray
    piece: np.ndarray

    def subsample(self, keep: np.ndarray, rng: np.random.Generator) -> Encoded:
        """Drop each running word with probability 1 - keep[word]; keep (V,)."""
        kept = rng.random(len(self.ids)) < keep[self.ids]  # (N,)
        return Encoded(self.ids[kept], self.piece[kept])  # (N',)


class NoiseSampler:
    """Draws words from a distribution by a table, as word2vec does: word w fills the share p(w) of its cells.

    One random index per draw, whatever V is. A table of a million cells is off by a millionth at most for each word.
    """

    def __init__(self, probabilities: np.ndarray, size: int = 1_000_000) -> None:
        places = (np.arange(size) + 0.5) / size  # (size,), the middle of each cell
        self.table = np.searchsorted(np.cumsum(probabilities), places)  # (size,), inverse of the distribution function
        self.table = np.minimum(self.table, len(probabilities) - 1)  # rounding may leave the last sum below 1

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Word numbers of the given shape."""
        return self.table[rng.integers(0, len(self.table), shape)]
