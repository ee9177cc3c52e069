"""Is a text an attack on the assistant? A linear model over what ``features`` sees and a sentence embedding.

There are two heads. ``question`` judges what a person asks: "ignore your rules" is an attack, "remove the spaces from
your reply" is a wish. ``document`` judges a page or a tool's result, which has no business to tell its reader anything
of the kind; it needs no embedding, so that many pages can be judged with each question. The weights, their training
and what they were measured at are in ``model/``; ``bench/train_guard.py`` makes them.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from assistant.guardrails import cues
from assistant.guardrails.features import MOST_SCANNED, OVERLAP, WINDOW, Floats, Seen, see, windows
from assistant.guardrails.normalising import decoded, plain
from assistant.guardrails.verdicts import Decision, Verdict

MOST_EMBEDDED = 3  # windows of one text: those that look worst without their embedding
DOCUMENT_WINDOW, DOCUMENT_OVERLAP, DOCUMENT_MOST = 250, 100, 80  # an order in a page is a sentence or two
REASONS = 3
LIKE_ATTACKS = "reads like known attacks"


@dataclass(frozen=True, slots=True)
class Head:
    """Weights of words, letters, cues and embedding; logit -> probability by ``slope`` and ``offset``."""

    words: Floats
    letters: Floats
    structure: Floats
    embedding: Floats
    bias: float
    slope: float
    offset: float
    flag: float
    block: float

    def cheap(self, seen: Seen) -> float:
        """The logit without the embedding's part."""
        words = float(self.words[seen.words].sum()) / math.sqrt(max(1, len(seen.words)))
        letters = float(self.letters[seen.letters].sum()) / math.sqrt(max(1, len(seen.letters)))
        return self.bias + words + letters + float(self.structure @ seen.structure)

    def probability(self, logit: float) -> float:
        return 1 / (1 + math.exp(-min(40.0, max(-40.0, self.slope * logit + self.offset))))

    def decide(self, probability: float) -> Decision:
        return "block" if probability >= self.block else "flag" if probability >= self.flag else "allow"


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a text, what was seen of it, and its logit without the embedding. ``coat``: what it came out of."""

    text: str
    seen: Seen
    logit: float
    coat: str = ""


def prepared(text: str) -> list[Window]:
    """The windows of a question that are worth an embedding, the one that looks worst first."""
    found = _seen(heads()["question"], pieces(text))
    return sorted(found, key=lambda window: -window.logit)[:MOST_EMBEDDED]


def pieces(
    text: str, size: int = WINDOW, overlap: int = OVERLAP, most: int = MOST_SCANNED, most_hidden: int = 2
) -> Iterator[tuple[str, str]]:
    """(coat, window) of the text as it reads, then of what it carries encoded: ``most_hidden`` of each such part."""
    read = plain(text)
    yield from (("", piece) for piece in windows(read, size, overlap, most))
    for coat, hidden in decoded(read):
        yield from ((coat, piece) for piece in windows(hidden, size)[:most_hidden])


def _seen(head: Head, found: Iterable[tuple[str, str]]) -> list[Window]:
    return [Window(piece, seen := see(piece), head.cheap(seen), coat) for coat, piece in found]


def judged(prepared: Sequence[Window], vectors: npt.NDArray[np.float32]) -> Verdict:
    """The verdict on a question from its windows and their vectors, shape (windows, dimensions)."""
    head = heads()["question"]
    logits = [window.logit + float(head.embedding @ vector) for window, vector in zip(prepared, vectors, strict=True)]
    return _verdict(head, prepared, logits)


def document(text: str) -> tuple[Verdict, str]:
    """Whether a document or a tool's result holds orders for its reader, and the window of it that looks worst."""
    head = heads()["document"]
    found = _seen(head, pieces(text, DOCUMENT_WINDOW, DOCUMENT_OVERLAP, DOCUMENT_MOST, most_hidden=4))
    verdict = _verdict(head, found, [window.logit for window in found])
    return verdict, max(found, key=lambda window: window.logit).text


def _verdict(head: Head, found: Sequence[Window], logits: Sequence[float]) -> Verdict:
    worst = max(range(len(found)), key=logits.__getitem__)
    probability = head.probability(logits[worst])
    decision = head.decide(probability)
    return Verdict(decision, round(probability, 4), _reasons(head, found[worst]) if decision != "allow" else ())


def _reasons(head: Head, window: Window) -> tuple[str, ...]:
    shares = head.structure[: len(cues.NAMES)] * window.seen.structure[: len(cues.NAMES)]
    order = [int(place) for place in np.argsort(-shares) if shares[place] > 0]
    named = [cues.NAMES[place] for place in order][:REASONS] or [LIKE_ATTACKS]
    return (f"hidden: {window.coat}", *named) if window.coat else tuple(named)


@functools.cache
def heads() -> dict[str, Head]:
    """The heads by name, read once (a quarter of a megabyte)."""
    data = (files("assistant.guardrails") / "model" / "guard.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: _head(stored, name) for name in ("question", "document")}


def _head(stored: np.lib.npyio.NpzFile, name: str) -> Head:
    words, letters, structure, embedding = (
        stored[f"{name}_{part}"].astype(np.float32) for part in ("words", "letters", "structure", "embedding")
    )
    return Head(words, letters, structure, embedding, *map(float, stored[f"{name}_numbers"]))
