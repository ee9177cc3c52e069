"""What a tokenizer does to text, in numbers: how frequent, how long, how many.

Zipf's law says that the r-th most frequent word of a text occurs about 1/r as often as the first. Tokens follow it less
well, and that is their point: a good vocabulary cuts the long tail of rare words into pieces that are seen often enough
to be learnt, and joins what is frequent, so that no token is wasted.

Source: Zipf, "Human Behavior and the Principle of Least Effort" (1949).
Left out: Rényi efficiency and other single numbers for the whole distribution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

Encode = Callable[[str], Sequence[Hashable]]  # text -> ids, or the tokens themselves


def rank_frequency(tokens: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Ranks 1, 2, … and the share of all tokens that the token of that rank has, both (different tokens,)."""
    counts = np.array(sorted(Counter(tokens).values(), reverse=True), dtype=float)  # (K,)
    return np.arange(1, len(counts) + 1), counts / counts.sum()  # (K,), (K,)


def zipf_slope(tokens: Sequence[Hashable], ranks: tuple[int, int] = (10, 1000)) -> float:
    """The slope of log frequency over log rank between two ranks; Zipf's law says -1.

    Raises ValueError when fewer than three ranks lie between.
    """
    rank, share = rank_frequency(tokens)  # (K,), (K,)
    between = (rank >= ranks[0]) & (rank <= ranks[1])  # (K,)
    if between.sum() < 3:
        raise ValueError("A slope needs at least three different tokens between the ranks.")
    return float(np.polyfit(np.log(rank[between]), np.log(share[between]), 1)[0])


def tokens_per_word(text: str, encode: Encode) -> float:
    """Tokens over words, a word being what stands between blanks ("fertility"); raises ValueError without words."""
    words = len(text.split())
    if not words:
        raise ValueError("A text without words has no tokens per word.")
    return len(encode(text)) / words


def bytes_per_token(text: str, encode: Encode) -> float:
    """How much text a token stands for: what a context of so many tokens holds, and what a price per token buys."""
    ids = encode(text)
    if not ids:
        raise ValueError("A text without tokens has no bytes per token.")
    return len(text.encode()) / len(ids)


def share_used(tokens: Sequence[Hashable], size: int) -> float:
    """The part of a vocabulary of ``size`` that occurs in ``tokens`` at all."""
    return len(set(tokens)) / size
