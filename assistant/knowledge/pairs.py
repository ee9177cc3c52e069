"""Words that stand side by side in the question, and side by side in a passage: "trust store", "rolling back".

BM25 and vectors see which words a passage holds, not which belong together. Of the first passages, one that holds the
question's pairs gains on one that holds the same words apart (the idea of Metzler and Croft's sequential dependence,
2005). Function words between two words do not part them, in either. Pure functions over text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from assistant.knowledge.lexical import plain_terms, term_id

Pair = tuple[str, str]


def asked(question: str, idf: Mapping[int, float]) -> dict[Pair, float]:
    """The question's pairs, each with the weight of the more common of its two words; ``idf``: term number -> weight.
    The weights sum to 1. Pairs with a word that counts nothing are none."""
    weights = {
        (one, next_one): min(idf.get(term_id(one), 0.0), idf.get(term_id(next_one), 0.0))
        for one, next_one in pairwise(plain_terms(question))
        if one != next_one
    }
    total = sum(weights.values())
    return {pair: weight / total for pair, weight in weights.items() if weight > 0}


def share(pairs: Mapping[Pair, float], texts: Iterable[str]) -> float:
    """How much of the pairs' weight stands in the texts, 0..1."""
    found: set[Pair] = set()
    for text in texts:
        found.update(pairs.keys() & set(pairwise(plain_terms(text))))
    return sum(pairs[pair] for pair in found)
