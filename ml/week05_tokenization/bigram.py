"""The smallest causal language model: the next token given one token, from counts.

It is a language model in full (a distribution over the next token, trained on the causal objective, scored by
perplexity), and its training is one pass of counting. That makes it the right tool for a question about *tokenizers*:
one model class, many vocabularies, seconds each.

    p(b) = (n(b) + 1) / (N + V)                     add one: no token is impossible
    p(b | a) = (n(ab) + m p(b)) / (n(a) + m)        m imagined tokens after each a, spread as p(b)

Source: MacKay and Peto, "A Hierarchical Dirichlet Language Model" (1995).
Left out: longer contexts, and finding m by more than a short grid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise


class Bigram:
    """Counts of tokens and pairs over ``rows`` of ids below ``size``; ``imagined`` is m."""

    def __init__(self, rows: Sequence[Sequence[int]], size: int, imagined: float = 100.0) -> None:
        self.size, self.imagined = size, imagined
        self.single = Counter(number for row in rows for number in row)
        self.before = Counter(number for row in rows for number in row[:-1])  # n(a) as the first of a pair
        self.pairs = Counter(pair for row in rows for pair in pairwise(row))
        self.total = self.single.total()

    def probability(self, a: int, b: int) -> float:
        """p(b | a)."""
        general = (self.single[b] + 1) / (self.total + self.size)  # p(b)
        return (self.pairs[a, b] + self.imagined * general) / (self.before[a] + self.imagined)

    def nats(self, row: Sequence[int]) -> float:
        """The sum of -log p over a row, its first token by p(b) alone: every byte of the text is paid for."""
        first = -math.log((self.single[row[0]] + 1) / (self.total + self.size)) if row else 0.0
        return first - sum(math.log(self.probability(a, b)) for a, b in pairwise(row))
