"""Texts that say the same again: word for word, or nearly.

MinHash: of each text's runs of words, the smallest value under each of many random functions; two texts agree in as
many of these as their sets of runs overlap (Jaccard). Texts that agree in a whole band of them are compared.
"""

from __future__ import annotations

import hashlib
import re
import zlib

import numpy as np
import numpy.typing as npt

RUN = 4  # words
FUNCTIONS, BAND = 64, 4  # values, and how many of them make a band
ALIKE = 0.8  # of the runs of both
_WORD = re.compile(r"\w+")
_PRIME = (1 << 61) - 1

Signature = npt.NDArray[np.uint64]


class Seen:
    """What was kept so far. Earlier texts win, so their order decides which of two stays."""

    def __init__(self) -> None:
        self._exact: set[bytes] = set()
        self._signatures: list[Signature] = []
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        mixed = np.random.default_rng(20_261)
        self._a = mixed.integers(1, 1 << 31, FUNCTIONS, dtype=np.uint64)[:, None]
        self._b = mixed.integers(0, 1 << 31, FUNCTIONS, dtype=np.uint64)[:, None]

    def is_new(self, text: str) -> str | None:
        """None for a text that is new, which is remembered; else ``exact`` or ``near``."""
        words = _WORD.findall(text.casefold())
        key = hashlib.blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=16).digest()
        if key in self._exact:
            return "exact"
        signature = self._signature(words)
        bands = [(start, signature[start : start + BAND].tobytes()) for start in range(0, FUNCTIONS, BAND)]
        rivals = {place for band in bands for place in self._bands.get(band, ())}
        if any(float((self._signatures[place] == signature).mean()) >= ALIKE for place in rivals):
            return "near"
        self._exact.add(key)
        for band in bands:
            self._bands.setdefault(band, []).append(len(self._signatures))
        self._signatures.append(signature)
        return None

    def _signature(self, words: list[str]) -> Signature:
        """(FUNCTIONS,): the same for the same words, on every machine."""
        runs = {" ".join(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))}
        values = np.fromiter((zlib.crc32(run.encode("utf-8", "replace")) for run in runs), np.uint64, len(runs))
        smallest: Signature = ((self._a * values + self._b) % np.uint64(_PRIME)).min(axis=1)
        return smallest
