"""What the guard's model sees of a text: hashed words and letters, cues, and where they stand.

A long text is seen in windows, because an attack may be one sentence of it. Everything here is numpy and runs in
fractions of a millisecond for a question.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assistant.guardrails import cues

WORD_SLOTS, LETTER_SLOTS = 1 << 15, 1 << 15
WINDOW, OVERLAP = 1_000, 150  # characters; MiniLM sees 256 tokens
MOST_SCANNED = 12  # windows of one text that are looked at, the first and the last
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_LETTERS = (3, 4, 5)
_MIX = np.array([0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)
STRUCTURE = len(cues.NAMES) + 3

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Seen:
    """The cheap features of one window: slots that are set, of words and of letters, and ``structure``.

    ``structure`` has shape (STRUCTURE,): log(1 + count) of each cue, the share of cues seen, the share of letters
    that are capitals, and of characters that are neither letters nor blanks.
    """

    words: Ints
    letters: Ints
    structure: Floats


def windows(text: str, size: int = WINDOW, overlap: int = OVERLAP, most: int = MOST_SCANNED) -> list[str]:
    """``text`` in pieces of ``size`` characters that overlap; of a very long text its beginning and its end."""
    if len(text) <= size:
        return [text]
    starts = list(range(0, max(1, len(text) - overlap), size - overlap))
    if len(starts) > most:
        starts = starts[: most * 2 // 3] + starts[-(most - most * 2 // 3) :]
    return [text[start : start + size] for start in starts]


def see(text: str) -> Seen:
    """The features of one window of plain text."""
    return Seen(_word_slots(text), _letter_slots(text), _structure(text))


def _word_slots(text: str) -> Ints:
    tokens = ["0" if token.isdecimal() else token for token in _TOKEN.findall(text.lower())]
    grams = [
        " ".join(tokens[place : place + length]) for length in (1, 2, 3) for place in range(len(tokens) - length + 1)
    ]
    slots = {zlib.crc32(gram.encode("utf-8", "replace")) & (WORD_SLOTS - 1) for gram in grams}
    return np.fromiter(slots, dtype=np.int64, count=len(slots))


def _letter_slots(text: str) -> Ints:
    squeezed = f" {' '.join(text.lower().split())} "
    points = np.frombuffer(squeezed.encode("utf-32-le", "replace"), dtype=np.uint32)
    found = []
    mixed_so_far = np.zeros(len(points), dtype=np.uint32)
    for place, factor in enumerate(_MIX):
        if len(points) <= place:
            break
        mixed_so_far = mixed_so_far[: len(points) - place] + points[place:] * factor
        if place + 1 not in _LETTERS:
            continue
        mixed = mixed_so_far ^ (mixed_so_far >> np.uint32(15))
        mixed *= np.uint32(0x2C1B3C6D)
        mixed ^= mixed >> np.uint32(13)
        found.append(mixed & np.uint32(LETTER_SLOTS - 1))
    return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, dtype=np.int64)


def _structure(text: str) -> Floats:
    seen = np.log1p(np.array(cues.counts(text), dtype=np.float32))
    letters = sum(map(str.isalpha, text))
    capitals = sum(map(str.isupper, text))
    marks = len(text) - letters - sum(map(str.isspace, text))
    extra = [(seen > 0).mean(), capitals / (letters or 1), min(0.5, marks / max(1, len(text)))]
    return np.concatenate([seen, np.array(extra, dtype=np.float32)])
