"""The baseline: an n-gram model, which counts what followed the last few characters.

Idea.    p(next | last n characters) is a mix of the count-based estimate and the same for n - 1 characters. Before a
         neural model may claim to have learned something, it must beat counting.
Source.  Witten & Bell (1991); the recursive form is in Chen & Goodman, "An Empirical Study of Smoothing Techniques"
         (1998), section 2.4.
Left out. Modified Kneser-Ney, some hundredths of a bit better.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence


class NGram:
    """Character (or token) n-grams over ids 0 … vocabulary - 1, with the last ``order`` ids as context."""

    def __init__(self, ids: Sequence[int], order: int, vocabulary: int) -> None:
        if order < 0 or vocabulary < 1:
            raise ValueError("An n-gram model needs an order of at least 0 and a vocabulary of at least 1.")
        self.order, self.vocabulary = order, vocabulary
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for place, next_id in enumerate(ids):
            for length in range(min(order, place) + 1):
                self.counts[tuple(ids[place - length : place])][next_id] += 1

    def probability(self, next_id: int, context: Sequence[int]) -> float:
        """p(next_id | context), from the last ``order`` ids of the context. Sums to 1 over the vocabulary.

        Witten-Bell: in a context seen N times with U different followers, a new follower is as likely as U in N + U:
        p(w | c) = (count(c, w) + U · p(w | c without its oldest id)) / (N + U); below that, all ids alike.
        """
        estimate = 1.0 / self.vocabulary
        longest = min(self.order, len(context))
        for length in range(longest + 1):
            followers = self.counts.get(tuple(context[len(context) - length :]))
            if not followers:
                break  # a context that was never seen has no longer one that was
            total, unique = followers.total(), len(followers)
            estimate = (followers[next_id] + unique * estimate) / (total + unique)
        return estimate

    def bits_per_character(self, ids: Sequence[int]) -> float:
        """Mean of -log₂ p over ids, each from those before it; the first is left out, as for the transformer."""
        logs = [
            math.log2(self.probability(ids[place], ids[max(0, place - self.order) : place]))
            for place in range(1, len(ids))
        ]
        return -sum(logs) / len(logs)
