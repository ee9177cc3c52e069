"""What one does with word vectors: similarity, nearest neighbours, analogies. One class for every method's result.

The similarity is the cosine, v . w / (|v| |w|): the length of a word2vec vector has to do with the word's frequency,
and the angle is what is left when that is divided out. An analogy a : b = c : ? is answered by the word nearest to
b - a + c of unit vectors (Mikolov, Yih and Zweig 2013; "3CosAdd" in Levy and Goldberg 2014), with a, b and c themselves
barred. They must be: without the bar, the first answer is c itself about half of the time. Exercise 4 counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np


class WordVectors:
    """``words`` and their vectors ``matrix`` (V, D), row by row."""

    def __init__(self, words: Sequence[str], matrix: np.ndarray) -> None:
        if len(words) != len(matrix):
            raise ValueError(f"{len(words)} words have {len(matrix)} vectors; each word needs one.")
        self.words, self.matrix = list(words), matrix
        self.index = {word: number for number, word in enumerate(self.words)}

    def __contains__(self, word: str) -> bool:
        return word in self.index

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors at length 1 (V, D); a zero vector stays zero."""
        length = np.linalg.norm(self.matrix, axis=1, keepdims=True)  # (V, 1)
        return self.matrix / np.where(length > 0, length, 1.0)  # (V, D)

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """Row numbers (n,); ValueError names the words that have no vector."""
        if missing := [word for word in words if word not in self.index]:
            raise ValueError(f"No vector for {', '.join(missing)}.")
        return np.array([self.index[word] for word in words], dtype=np.int64)

    def __getitem__(self, word: str) -> np.ndarray:
        return self.matrix[self.ids([word])[0]]  # (D,)

    def similarity(self, a: str, b: str) -> float:
        """Cosine of two words, in -1..1."""
        first, second = self.unit[self.ids([a, b])]  # (D,), (D,)
        return float(first @ second)

    def similarities(self, words: Sequence[str]) -> np.ndarray:
        """Cosines between all of ``words`` -> (n, n)."""
        rows = self.unit[self.ids(words)]  # (n, D)
        return rows @ rows.T  # (n, n)

    def nearest(self, word: str, count: int = 5) -> list[tuple[str, float]]:
        """The ``count`` words with the largest cosine to ``word``, itself left out."""
        return self._best(self.unit[self.ids([word])[0]], [word], count)

    def analogy(self, a: str, b: str, c: str, count: int = 1, bar_inputs: bool = True) -> list[tuple[str, float]]:
        """a is to b as c is to ...: the words with the largest cosine to b - a + c."""
        one, two, three = self.unit[self.ids([a, b, c])]  # (D,) each
        query = two - one + three  # (D,)
        return self._best(query / np.linalg.norm(query), [a, b, c] if bar_inputs else [], count)

    def _best(self, query: np.ndarray, barred: Sequence[str], count: int) -> list[tuple[str, float]]:
        cosine = self.unit @ query  # (V, D) @ (D,) -> (V,)
        cosine[self.ids(barred)] = -np.inf
        best = np.argsort(-cosine)[:count]  # (count,)
        return [(self.words[number], float(cosine[number])) for number in best if np.isfinite(cosine[number])]
