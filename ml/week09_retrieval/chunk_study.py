"""Chunkers measured against each other: how much of the passage that answers comes back, for the same amount of text.

Comparing "the best five chunks" would favour long chunks, which simply return more. So every chunker gets the same
budget of characters, as a prompt does: chunks are taken in BM25's order until the budget is full, and what counts is
the share of the answering passage's characters that they cover, averaged over questions.

Source: the measure is the token recall of Smith and Troynikov, "Evaluating chunking strategies for retrieval" (Chroma,
2024). Left out: precision and IoU, which a fixed budget mostly turns into the same ranking, and vectors for ranking
(an exercise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ml.week09_retrieval import chunking
from ml.week09_retrieval.bm25 import BM25, tokenise
from ml.week09_retrieval.chunking import Chunk
from ml.week09_retrieval.data import Page

Chunker = Callable[[Page, int], list[Chunk]]
Ranker = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[int]]]

CHUNKERS: dict[str, Chunker] = {
    "fixed": lambda page, size: chunking.fixed(page.text, size),
    "fixed, 20 % overlap": lambda page, size: chunking.fixed(page.text, size, size // 5),
    "sentences": lambda page, size: chunking.sentences(page.text, size),
    "recursive": lambda page, size: chunking.recursive(page.text, size),
    "markdown, text only": lambda page, size: [
        Chunk(chunk.start, chunk.end, chunk.text) for chunk in chunking.markdown(page.text, size)
    ],
    "markdown": lambda page, size: chunking.markdown(page.text, size, page.title),
}
BUDGET = 2_000  # characters, some 500 tokens


def rank_by_bm25(texts: Sequence[str], questions: Sequence[str]) -> list[list[int]]:
    """For each question the ids of its best 200 texts, best first."""
    index = BM25([tokenise(text) for text in texts])
    return [index.search(tokenise(question), 200)[1].tolist() for question in questions]


def coverage(pages: Sequence[Page], chunker: Chunker, size: int, rank: Ranker = rank_by_bm25) -> float:
    """Mean share, 0..1, of the answering passage that the best chunks within the budget cover."""
    chunks = [(number, chunk) for number, page in enumerate(pages) for chunk in chunker(page, size)]
    asked = [(number, *question) for number, page in enumerate(pages) for question in page.questions]
    rankings = rank([chunk.indexed for _, chunk in chunks], [question for _, question, _, _ in asked])
    shares = []
    for (number, _, start, end), ranking in zip(asked, rankings, strict=True):
        taken = _within_budget([chunks[place] for place in ranking])
        covered = np.zeros(end - start, dtype=bool)  # (characters of the passage,): each counts once
        for page, chunk in taken:
            if page == number and chunk.end > start:
                covered[max(chunk.start - start, 0) : max(chunk.end - start, 0)] = True
        shares.append(covered.mean())
    return float(np.mean(shares))


def _within_budget(ranked: Sequence[tuple[int, Chunk]]) -> list[tuple[int, Chunk]]:
    """The first chunks that fill the budget, headings paid for; the one that would exceed it is cut to what fits."""
    left, taken = BUDGET, []
    for page, chunk in ranked:
        room = left - (len(chunk.indexed) - len(chunk.text))
        if room <= 0:
            break
        end = min(chunk.end, chunk.start + room)
        taken.append((page, Chunk(chunk.start, end, chunk.text[: end - chunk.start])))
        left -= len(chunk.indexed)
    return taken
