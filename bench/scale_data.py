"""A corpus of any size for the measurements of scale: real windows of text, and vectors around real ones.

Texts: windows of 96 words of four collections of the shared data, 44 thousand different ones. A smaller corpus takes
some of them here and there, so that the questions are about what is there at every size; a larger one goes over the
collections again, where every further round starts its windows elsewhere and replaces a fifth of the words by words
drawn from the same collections by their frequency.

Vectors: every seventh window of the first round is embedded by all-MiniLM-L6-v2; a window's vector is that of the
nearest embedded one plus half of the difference of two others, normalised, so that the noise has the directions that
real vectors differ in.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.lexical import frequencies, query_terms
from bench.world import DATA, HOME, jsonl

WORDS = 96  # of a window
REPLACED = 0.2  # of the words, from the second round on
EMBEDDED = 7  # every so manieth window of the first round
NOISE = 0.5
QUERY_TERMS = 8
FOLDER = HOME / "scale"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """``centre``: the row of the embedded window that its vector is made from."""

    number: int
    text: str
    counts: dict[int, int]
    centre: int

    @property
    def text_hash(self) -> uuid.UUID:
        return uuid.UUID(int=self.number)


@cache
def collections() -> tuple[tuple[str, ...], ...]:
    """The words of each passage or page, in order; passages of less than half a window are left out."""
    texts = [
        f"{row['title']} {row['text']}"
        for name in ("mtrag_cloud", "scifact", "feedbackqa")
        for row in jsonl(DATA / name / "corpus.jsonl")
    ]
    texts += [path.read_text(encoding="utf-8") for path in sorted((DATA / "govuk_docs" / "docs").rglob("*.md"))]
    words = (tuple(text.split()) for text in texts)
    return tuple(some for some in words if len(some) >= WORDS // 2)


def _texts() -> Iterator[tuple[str, int]]:
    """Text and number of its window in its round, without end."""
    passages = collections()
    pool = [word for some in passages for word in some]
    random_ = random.Random(6)
    for turn in range(1_000_000):
        place = 0
        for words in passages:
            for start in range((turn * 37) % WORDS if turn else 0, len(words), WORDS):
                window = list(words[start : start + WORDS])
                if len(window) < WORDS // 2:
                    continue
                if turn:
                    for at in random_.sample(range(len(window)), int(len(window) * REPLACED)):
                        window[at] = pool[int(random_.random() * len(pool))]
                yield " ".join(window), place
                place += 1


def _of_size(size: int) -> Iterator[tuple[str, int]]:
    """As ``_texts``, for a corpus of so many windows: of less than one round, they are spread over all of it."""
    first = first_round()
    if size >= first:
        yield from islice(_texts(), size)
        return
    taken = 0
    for place, window in enumerate(islice(_texts(), first)):
        if place == taken * first // size:
            taken += 1
            yield window


def windows(start: int, size: int) -> Iterator[Window]:
    """The windows of a corpus of ``size`` from number ``start`` on; always the same ones."""
    for number, (text, place) in enumerate(_of_size(size)):
        if number >= start:
            counts = Counter(term for word in text.split() for term in _terms(word))
            yield Window(number, text, dict(counts), _centre(place))


def centres(size: int) -> npt.NDArray[np.int64]:
    """Of every window, shape (size,); kept in the bench's folder."""
    path = FOLDER / f"places-{named(size)}.npy"
    if not path.exists():
        _save(path, np.array([_centre(place) for _, place in _of_size(size)]))
    return np.asarray(np.load(path), dtype=np.int64)


def named(size: int) -> str:
    """What is kept of a corpus of this size bears this; small ones were once the first windows only."""
    return f"{size}_spread" if size < first_round() else str(size)


def _centre(place: int) -> int:
    """The row of the embedded window that a window at this place of its round has its vector from."""
    return min(place // EMBEDDED, (first_round() - 1) // EMBEDDED)


@cache
def _terms(word: str) -> tuple[int, ...]:
    """What the product's analysis makes of a word; of a text of words, it makes the same as of each alone."""
    return tuple(term for term, count in frequencies(word).items() for _ in range(count))


@cache
def first_round() -> int:
    """How many windows the first round has."""
    return sum(
        len(words[start : start + WORDS]) >= WORDS // 2
        for words in collections()
        for start in range(0, len(words), WORDS)
    )


def real_vectors() -> Floats:
    """The model's vectors of every seventh window, shape (windows, 384); kept in the bench's folder."""
    path = FOLDER / "centres.npy"
    if not path.exists():
        texts = [
            text for number, (text, _) in zip(range(first_round()), _texts(), strict=False) if number % EMBEDDED == 0
        ]
        _save(path, asyncio.run(_embedded(texts)))
    return np.asarray(np.load(path), dtype=np.float32)


async def _embedded(texts: list[str]) -> Floats:
    embedder = TransformerEmbedder(None, threads=2)
    parts = [await embedder.embed(texts[start : start + 512]) for start in range(0, len(texts), 512)]
    await embedder.close()
    return np.concatenate(parts)


def _save(path: Path, vectors: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.new").open("wb") as file:
        np.save(file, vectors)
    Path(file.name).rename(path)


def vectors(centres: npt.NDArray[np.int64], start: int, real: Floats) -> Floats:
    """Vectors of the windows from number ``start`` on, shape (centres, 384); the same for the same ``start``."""
    random_ = np.random.default_rng(start)
    one, other = random_.integers(0, len(real), (2, len(centres)))
    mixed = real[centres] + NOISE * (real[one] - real[other])
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Queries:
    """Real questions, each cut behind its eighth term; vectors of shape (questions, 384)."""

    texts: tuple[str, ...]
    vectors: Floats

    @property
    def terms(self) -> list[list[int]]:
        return [query_terms(text) for text in self.texts]


def queries(count: int = 300) -> Queries:
    """Questions of eight terms or more, a third of each of three collections where they have so many."""
    random_ = random.Random(7)
    chosen: list[str] = []
    for left, name in enumerate(("mtrag_cloud", "scifact", "feedbackqa")):
        texts = dict.fromkeys(_cut(str(row["text"])) for row in jsonl(DATA / name / "queries.jsonl"))
        texts.pop("", None)
        chosen += random_.sample(list(texts), min(len(texts), (count - len(chosen)) // (3 - left)))
    path = FOLDER / f"queries-{len(chosen)}.npy"
    if not path.exists():
        _save(path, asyncio.run(_embedded(chosen)))
    return Queries(tuple(chosen), np.asarray(np.load(path), dtype=np.float32))


def _cut(text: str) -> str:
    """The beginning of the text that has eight terms; empty where none has."""
    words = text.split()
    for end in range(QUERY_TERMS, len(words) + 1):
        if len(query_terms(" ".join(words[:end]))) == QUERY_TERMS:
            return " ".join(words[:end])
    return ""
