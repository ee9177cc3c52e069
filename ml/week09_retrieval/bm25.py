"""BM25: words in common, weighted by how rare they are, in an inverted index.

    score(q, d) = Σ_{t in q}  idf(t) · part(tf(t, d), |d|)

``idf`` makes rare words count: a word in every document says nothing. ``part`` grows with the word's count tf but
levels off (k1: the second mention says less than the first), and divides by the document's length (b: long documents
hold more words by chance). The five published variants differ in those two factors only:

    lucene     idf = ln(1 + (N - df + ½) / (df + ½))          part = tf / (tf + K)         K = k1 (1 - b + b |d| / avg)
    robertson  idf = ln((N - df + ½) / (df + ½)), at least 0  part = tf / (tf + K)
    atire      idf = ln(N / df)                               part = (k1 + 1) tf / (tf + K)
    bm25l      idf = ln((N + 1) / (df + ½))                   part = (k1 + 1)(c + δ) / (k1 + c + δ),  c = tf k1 / K
    bm25+      idf = ln((N + 1) / df)                         part = (k1 + 1) tf / (tf + K) + δ

The inverted index keeps, for each word, the documents that hold it: a query touches only its words' lists, however many
documents there are. Scores equal those of the ``bm25s`` package, whose last two variants also give absent words (tf =
0) their part > 0; the exercises show what that does.

Source: Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond" (2009); the table of variants
from Kamphuis, de Vries, Boytsov and Lin (2020). Left out: compressed lists, and skipping documents that cannot reach
the first k (WAND), the two things a search engine adds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

METHODS = ("lucene", "robertson", "atire", "bm25l", "bm25+")
STOP_WORDS = frozenset(
    "a an and are as at be but by do does for from has have how if in into is it its no not of on or such that the "
    "their then there these they this to was were what when where which who why will with you your".split()
)
_WORD = re.compile(r"\w+")


def tokenise(text: str, stem: Callable[[list[str]], list[str]] | None = None) -> list[str]:
    """Lower-case words less the stop words; ``stem`` maps a list of words to their stems (PyStemmer's does)."""
    words = [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]
    return stem(words) if stem else words


class BM25:
    """An inverted index over tokenised documents. ``delta`` is used by bm25l and bm25+ only."""

    def __init__(
        self,
        documents: Sequence[Sequence[str]],
        method: str = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
        delta: float = 0.5,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}; it is {method!r}.")
        if k1 < 0 or not 0 <= b <= 1:
            raise ValueError(f"k1 must not be negative and b must lie in 0..1; they are {k1} and {b}.")
        self.method, self.k1, self.b, self.delta = method, k1, b, delta
        self.lengths: Floats = np.array([len(document) for document in documents], dtype=np.float64)  # (N,)
        self.average = float(self.lengths.mean()) if self.lengths.sum() else 1.0
        self.postings = _invert(documents)

    def idf(self, df: int) -> float:
        """How much a word that stands in ``df`` of the N documents says."""
        n = len(self.lengths)
        return {
            "lucene": float(np.log(1 + (n - df + 0.5) / (df + 0.5))),
            "robertson": float(np.log(max((n - df + 0.5) / (df + 0.5), 1))),  # else negative for df > N / 2
            "atire": float(np.log(n / df)),
            "bm25l": float(np.log((n + 1) / (df + 0.5))),
            "bm25+": float(np.log((n + 1) / df)),
        }[self.method]

    def part(self, tf: Floats, lengths: Floats) -> Floats:
        """The share of a word that occurs ``tf`` times in documents of ``lengths`` words: shapes (n,), (n,) -> (n,)."""
        norm = 1 - self.b + self.b * lengths / self.average  # (n,): 1 for a document of average length
        if self.method in ("lucene", "robertson"):
            return tf / (tf + self.k1 * norm)  # (n,)
        if self.method == "bm25l":
            c = tf / norm + self.delta  # (n,): the count as it would be in an average document, and a bit
            return (self.k1 + 1) * c / (self.k1 + c)  # (n,)
        saturated = (self.k1 + 1) * tf / (tf + self.k1 * norm)  # (n,)
        return saturated + self.delta if self.method == "bm25+" else saturated

    def absent(self) -> float:
        """``part`` for tf = 0: zero for the first three variants, a constant for the last two."""
        lifted = {"bm25l": (self.k1 + 1) * self.delta / (self.k1 + self.delta), "bm25+": self.delta}
        return lifted.get(self.method, 0.0)

    def scores(self, query: Sequence[str]) -> Floats:
        """The score of every document, shape (N,); a word that the query repeats counts each time."""
        total = np.full(len(self.lengths), self.floor(query))  # (N,)
        for word in query:
            if word in self.postings:
                ids, tf = self.postings[word]  # (df,), (df,): the documents that hold the word, and how often
                total[ids] += self.idf(len(ids)) * (self.part(tf, self.lengths[ids]) - self.absent())  # (df,)
        return total

    def floor(self, query: Sequence[str]) -> float:
        """The score of a document that holds none of the query's words."""
        return sum(self.idf(len(self.postings[word][0])) for word in query if word in self.postings) * self.absent()

    def search(self, query: Sequence[str], k: int) -> tuple[Floats, Ids]:
        """Scores and ids of the best ``k`` documents, best first; ties in the order of the ids.

        Fewer than ``k`` where fewer share a word with the query: no word in common is no reason to show a document.
        """
        scores = self.scores(query)  # (N,)
        best = np.argsort(-scores, kind="stable")[:k]  # (k,)
        best = best[scores[best] > self.floor(query)]  # (k',)
        return scores[best], best


def _invert(documents: Sequence[Sequence[str]]) -> dict[str, tuple[Ids, Floats]]:
    """word -> (ids of the documents that hold it, ascending; how often each does)."""
    lists: dict[str, tuple[list[int], list[int]]] = {}
    for number, document in enumerate(documents):
        for word, count in Counter(document).items():
            ids, counts = lists.setdefault(word, ([], []))
            ids.append(number)
            counts.append(count)
    return {word: (np.array(ids), np.array(counts, dtype=np.float64)) for word, (ids, counts) in lists.items()}
