"""How passages were rated for questions: a passage leans up or down for questions near those that it was rated for.

Known by content: a passage by its words, or, once it is cut anew, by the sentences that it shares with what was rated.
A question is known by its vector, rounded to a byte a number.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

NEAR = 0.5  # cosine under which a voted question says nothing of another
SHRINKAGE = 1.0  # near votes that say nothing, added to those there are
ALIKE = 0.5  # of the shorter passage's words: so much shared is the same passage, cut otherwise
LEAST = 5  # words of a sentence that tells one passage from another
_WORDS = re.compile(r"\w+")
_SENTENCES = re.compile(r"(?<![.!?])[.!?]++(?=\s)|\n{2,}|[。！？]")


@lru_cache(maxsize=4_096)
def content_key(text: str) -> str:
    """What a passage is known by: its words, whatever its layout, as 32 hexadecimal digits."""
    words = " ".join(text.casefold().split())
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:32]


@lru_cache(maxsize=4_096)
def sentences(text: str) -> Mapping[str, int]:
    """The keys of its sentences of ``LEAST`` words or more, each with its number of words."""
    found = (_WORDS.findall(sentence) for sentence in _SENTENCES.split(text.casefold()))
    return {_short(words): len(words) for words in found if len(words) >= LEAST}


def _short(words: Sequence[str]) -> str:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Rating:
    """``passage`` (its text) was rated ``value`` for ``question``, a row of the questions' vectors: above 0 it helped,
    below 0 it did not; the size says how much that counts."""

    question: int
    passage: str
    value: float


class Memory:
    """``vectors``: the rated questions', of length 1, shape (questions, dimensions)."""

    def __init__(self, vectors: Vectors, ratings: Sequence[Rating]) -> None:
        merged: dict[str, dict[int, float]] = {}
        texts: dict[str, str] = {}
        keys = {text: content_key(text) for text in {rating.passage for rating in ratings}}
        for rating in ratings:
            key = keys[rating.passage]
            texts[key] = rating.passage
            one = merged.setdefault(key, {})
            one[rating.question] = one.get(rating.question, 0.0) + rating.value
        votes = {
            key: (np.array(list(found), np.int32), np.array(list(found.values()), np.float32))
            for key, found in merged.items()
        }
        self._fill(_bytes(vectors), votes, {key: sentences(text) for key, text in texts.items()})

    def _fill(
        self,
        rounded: npt.NDArray[np.int8],
        votes: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]],
        held: Mapping[str, Mapping[str, int]],
    ) -> None:
        self._rounded, self._votes, self._held = rounded, votes, held
        whole = rounded.astype(np.float32)
        self._vectors = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), np.float32(1e-9))
        self._homes: dict[str, list[str]] = {}
        for key, found in held.items():
            for sentence in found:
                self._homes.setdefault(sentence, []).append(key)

    def __len__(self) -> int:
        """How many passages were rated."""
        return len(self._votes)

    def support(self, vector: Vectors, passages: Sequence[str], without: int | None = None) -> Floats:
        """-1..1 for each passage (its text), shape (passages,): the mean of its ratings, by how near their questions
        are.

        ``without``: a rated question whose own ratings are left out.
        """
        found = np.zeros(len(passages))
        for place, text in enumerate(passages):
            parts = [(self._votes[key], share) for key, share in self._known_as(text)]
            if not parts:
                continue
            questions = np.concatenate([of for (of, _), _ in parts])
            values = np.concatenate([value * share for (_, value), share in parts])
            near = np.maximum(self._vectors[questions] @ vector - NEAR, 0.0) / (1 - NEAR)
            if without is not None:
                near = np.where(questions == without, 0.0, near)
            found[place] = float(near @ values) / (float(near @ np.abs(values)) + SHRINKAGE)
        return found

    def _known_as(self, text: str) -> list[tuple[str, float]]:
        """The rated passages that this is, or shares most of its sentences with; how much of the shorter is shared."""
        key = content_key(text)
        if key in self._votes:
            return [(key, 1.0)]
        own = sentences(text)
        shared: dict[str, int] = {}
        for sentence, words in own.items():
            for home in self._homes.get(sentence, ()):
                shared[home] = shared.get(home, 0) + words
        whole = sum(own.values())
        shares = {home: words / min(whole, sum(self._held[home].values())) for home, words in shared.items()}
        return [(home, share) for home, share in shares.items() if share >= ALIKE]

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "dimensions": self._rounded.shape[1],
            "questions": _packed(self._rounded),
            "passages": {
                key: {"of": _packed(of), "value": _packed(value), "sentences": dict(self._held[key])}
                for key, (of, value) in self._votes.items()
            },
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Memory:
        """What ``document`` gave; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        dimensions = int(document["dimensions"])
        if dimensions < 1:
            raise ValueError("its questions have no dimensions")
        rounded = np.frombuffer(_unpacked(document["questions"]), np.int8).reshape(-1, dimensions)
        votes, held = {}, {}
        for key, found in document["passages"].items():
            of = np.frombuffer(_unpacked(found["of"]), "<i4").astype(np.int32)
            value = np.frombuffer(_unpacked(found["value"]), "<f4").astype(np.float32)
            if of.shape != value.shape or (of.size and not 0 <= of.min() <= of.max() < len(rounded)):
                raise ValueError("a rating is of no question that it holds")
            if not np.isfinite(value).all():
                raise ValueError("a rating is not a number")
            votes[str(key)] = (of, value)
            held[str(key)] = {str(sentence): int(words) for sentence, words in found["sentences"].items()}
        memory = cls.__new__(cls)
        memory._fill(rounded, votes, held)
        return memory


def _bytes(vectors: Vectors) -> npt.NDArray[np.int8]:
    most = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-9)
    rounded: npt.NDArray[np.int8] = np.rint(vectors / most * 127).astype(np.int8)
    return rounded


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
