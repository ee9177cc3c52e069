"""Byte-pair encoding as it is told: count all pairs, join the most frequent one, count again.

The whole algorithm is the loop of ``train_plain``. It began as a way to compress files (replace the most frequent pair
of bytes by a byte that is not in use); Sennrich et al. saw that the table of replacements is a vocabulary: frequent
words become one token, rare ones a few, and nothing is ever unknown.

Source: Gage, "A New Algorithm for Data Compression" (1994); Sennrich, Haddow and Birch, "Neural Machine Translation of
Rare Words with Subword Units" (2016).
Left out: speed. Every round reads every word, O(merges x corpus); ``bpe_train.py`` does the same work without that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ml.week05_tokenization.text import BYTE_ORDER

Pair = tuple[int, int]


def count_pairs(words: Mapping[tuple[int, ...], int]) -> Counter[Pair]:
    """How often each pair of neighbours occurs, by word and the word's frequency."""
    pairs: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):  # "aaa" holds (a, a) twice, although only one of the two can be joined
            pairs[pair] += count
    return pairs


def join_pair(word: Sequence[int], pair: Pair, new: int) -> tuple[int, ...]:
    """``word`` with every occurrence of ``pair`` replaced by ``new``, from left to right."""
    joined, place = [], 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            joined.append(new)
            place += 2
        else:
            joined.append(word[place])
            place += 1
    return tuple(joined)


def train_plain(words: Mapping[tuple[int, ...], int], size: int) -> tuple[list[Pair], list[bytes]]:
    """Learn merges until the vocabulary has ``size`` tokens.

    Returns the merges in the order learnt, and the tokens: ``tokens[id]`` are the bytes of ``id``. Stops early when no
    pair is left. Raises ValueError for a size below 256.
    """
    if size < 256:
        raise ValueError(f"A byte-level vocabulary holds at least the 256 bytes; {size} is too small.")
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    ids = {token: number for number, token in enumerate(tokens)}
    merges: list[Pair] = []
    while len(tokens) < size and (pairs := count_pairs(words)):
        # The most frequent pair; of equals, the one with the smaller ids. Any rule would do, but it must be a rule:
        # two machines that break ties differently end with two vocabularies.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        token = tokens[best[0]] + tokens[best[1]]
        if token not in ids:  # ("a", "bc") and ("ab", "c") are two merges but one token
            ids[token] = len(tokens)
            tokens.append(token)
        merges.append(best)
        changed: Counter[tuple[int, ...]] = Counter()
        for word, count in words.items():
            changed[join_pair(word, best, ids[token])] += count  # two words may become the same row of ids
        words = changed
    return merges, tokens
