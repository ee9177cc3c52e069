"""The same merges, fast: keep the counts of pairs true instead of counting again.

A merge changes only the words that hold the pair. So remember for each pair where it occurs, take those words' pairs
out of the counts, join, and put the new pairs in. What is left is to find the most frequent pair without looking at
all of them: a heap whose entries may be out of date. An entry that says more than the true count is put back with the
true one when it comes up; a count that grows gets a new entry at once. So a pair's highest entry never says less than
the truth, and the first entry that is true is the maximum.

Source: the bookkeeping is the one of Sennrich's subword-nmt and of Hugging Face's trainer (the tie rule is theirs too:
the smaller pair of ids wins).
Left out: threads, and words by position (a long "word" such as a genome is better served by a linked list).
"""

from __future__ import annotations

import heapq
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeVar

from ml.week05_tokenization.bpe_plain import Pair, join_pair
from ml.week05_tokenization.text import BYTE_ORDER

Token = TypeVar("Token", bytes, str)


class PairCounts:
    """The frequency of each pair of neighbours, kept true while words change."""

    def __init__(self, words: Mapping[tuple[int, ...], int]) -> None:
        self.words = list(words)
        self.frequencies = list(words.values())
        self.counts: Counter[Pair] = Counter()
        self.places: dict[Pair, set[int]] = defaultdict(set)  # pair -> words that hold it, or held it once
        for index in range(len(self.words)):
            self._add(index, sign=1)

    def _add(self, index: int, sign: int) -> None:
        for pair in pairwise(self.words[index]):
            self.counts[pair] += sign * self.frequencies[index]
            if sign > 0:
                self.places[pair].add(index)

    def join(self, pair: Pair, new: int) -> set[Pair]:
        """Replace ``pair`` by ``new`` in every word; returns the pairs whose count may have grown."""
        grown: set[Pair] = set()
        for index in self.places.pop(pair):
            self._add(index, sign=-1)
            self.words[index] = join_pair(self.words[index], pair, new)
            self._add(index, sign=1)
            # Only a pair with the new token in it can have grown; the others of this word are as they were, or fewer.
            grown.update(neighbours for neighbours in pairwise(self.words[index]) if new in neighbours)
        return grown


def learn_merges(
    words: Mapping[tuple[int, ...], int],
    tokens: list[Token],
    size: int,
    join: Callable[[Token, Token], Token] = operator.add,
) -> list[Pair]:
    """Append to ``tokens`` until there are ``size`` of them, or until no pair is left; returns the merges.

    ``words`` are rows of ids into ``tokens`` with their frequency. ``join`` makes a token of two (WordPiece needs its
    own, for the ``##`` of its second half).
    """
    ids = {token: number for number, token in enumerate(tokens)}
    pairs = PairCounts(words)
    heap = [(-count, pair) for pair, count in pairs.counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while len(tokens) < size and heap:
        negative, pair = heapq.heappop(heap)
        count = pairs.counts[pair]
        if count != -negative:  # out of date: it may come back later, lower down
            if count > 0:
                heapq.heappush(heap, (-count, pair))
            continue
        if count <= 0:
            continue
        token = join(tokens[pair[0]], tokens[pair[1]])
        if token not in ids:
            ids[token] = len(tokens)
            tokens.append(token)
        merges.append(pair)
        for grown in pairs.join(pair, ids[token]):
            heapq.heappush(heap, (-pairs.counts[grown], grown))
    return merges


def train(words: Mapping[tuple[int, ...], int], size: int) -> tuple[list[Pair], list[bytes]]:
    """What ``train_plain`` returns, sooner. Raises ValueError for a size below 256."""
    if size < 256:
        raise ValueError(f"A byte-level vocabulary holds at least the 256 bytes; {size} is too small.")
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    return learn_merges(words, tokens, size), tokens
