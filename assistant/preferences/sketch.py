"""A passage in 64 characters, by which it is known again when it is cut otherwise.

Of its runs of three words, the few with the smallest hashes: as good as drawn by lot, and the same ones each time. How
many of them another passage holds is about how much of the first stands in it (a bottom-k sketch; Broder 1997).
"""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint32]

KEPT = 12  # hashes of 4 bytes
_WORDS = re.compile(r"\w+")


def shingles(text: str) -> Hashes:
    """The hashes of its runs of three words, each once, ascending; of what is shorter, that of all of it."""
    words = _WORDS.findall(text.casefold())
    if not words:
        return np.zeros(0, np.uint32)
    one = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], np.uint32)
    if len(one) < 3:
        one = np.concatenate([one, np.zeros(3 - len(one), np.uint32)])
    mixed = one[:-2] * np.uint32(0x9E3779B1) + one[1:-1] * np.uint32(0x85EBCA77) + one[2:] * np.uint32(0xC2B2AE3D)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    found: Hashes = np.unique(mixed ^ (mixed >> np.uint32(12)))
    return found


def sketch(text: str) -> str:
    return base64.b64encode(shingles(text)[:KEPT].astype("<u4").tobytes()).decode()


def share(kept: str, other: Hashes) -> float:
    """About how much of the passage that ``kept`` is of stands in one with these shingles, 0..1; 0 for no sketch."""
    try:
        own = np.frombuffer(base64.b64decode(kept, validate=True), "<u4")
    except ValueError:
        return 0.0
    return float(np.isin(own, other).mean()) if len(own) else 0.0
