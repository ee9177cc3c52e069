"""All ways to cut a text into pieces, at once: the best one (Viterbi) and the average over all (forward-backward).

A unigram model gives each piece a probability and a cut the product of its pieces' probabilities. Draw the borders
between characters as dots and each piece as an arrow from where it begins to where it ends: a cut is a path from the
first dot to the last, and there are up to 2^(n-1) of them for n characters. Dynamic programming needs each arrow once.

    best(j)  = max over arrows i -> j of  best(i) + score(i, j)                    the best path
    alpha(j) = log sum over arrows i -> j of  exp(alpha(i) + score(i, j))          all paths to j
    beta(i)  = log sum over arrows i -> j of  exp(score(i, j) + beta(j))           all paths from i
    P(arrow i -> j) = exp(alpha(i) + score(i, j) + beta(j) - alpha(n))             its share of all paths

Source: Kudo, "Subword Regularization" (2018); Viterbi (1967).
Left out: a trie (the dictionary is asked for every substring up to the longest piece), and the n best cuts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping

Scores = Mapping[str, float]  # piece -> log-probability
BLANK = "▁"  # U+2581, SentencePiece's visible blank: a blank is a character like others, so decoding loses nothing
UNKNOWN_PENALTY = 10.0  # nats below the worst piece, as SentencePiece and tokenizers have it

Arrow = tuple[int, int, float]  # from, to, log-probability


def arrows(text: str, scores: Scores, longest: int, unknown: float = -math.inf) -> Iterator[Arrow]:
    """The pieces that occur in ``text``, by their end, then by length.

    A character that is no piece becomes an arrow of score ``unknown``, so that a path exists.
    """
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            if (score := scores.get(text[start:end])) is not None:
                yield start, end, score
            elif start == end - 1 and unknown > -math.inf:
                yield start, end, unknown


def viterbi(text: str, scores: Scores, longest: int | None = None) -> tuple[list[str], float]:
    """The most probable cut of ``text`` and its log-probability.

    Characters that are no piece cost ``UNKNOWN_PENALTY`` nats more than the worst piece. ``longest`` is the length of
    the longest piece, counted when not given. Raises ValueError when there are no pieces at all.
    """
    if not scores:
        raise ValueError("A unigram model needs at least one piece.")
    longest = longest or max(map(len, scores))
    unknown = min(scores.values()) - UNKNOWN_PENALTY
    best = [0.0] + [-math.inf] * len(text)  # best[j]: the best path from the first dot to dot j
    came_from = [0] * (len(text) + 1)
    for start, end, score in arrows(text, scores, longest, unknown):
        if best[start] + score > best[end]:
            best[end] = best[start] + score
            came_from[end] = start
    pieces, end = [], len(text)
    while end:
        pieces.append(text[came_from[end] : end])
        end = came_from[end]
    return pieces[::-1], best[-1]


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)) without leaving the range of floats."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def forward(length: int, found: list[Arrow]) -> list[float]:
    """alpha: the log-probability of all paths from the first dot to each. ``found`` must come by their ends."""
    alpha = [0.0] + [-math.inf] * length
    for start, end, score in found:
        alpha[end] = log_add(alpha[end], alpha[start] + score)
    return alpha


def backward(length: int, found: list[Arrow]) -> list[float]:
    """beta: the log-probability of all paths from each dot to the last."""
    beta = [-math.inf] * length + [0.0]
    for start, end, score in reversed(found):
        beta[start] = log_add(beta[start], score + beta[end])
    return beta


def expected(text: str, scores: Scores, longest: int) -> tuple[dict[str, float], float]:
    """How often each piece occurs in a cut of ``text`` drawn from the model, and log P(text), summed over all cuts.

    Raises ValueError when no cut exists.
    """
    found = list(arrows(text, scores, longest))
    alpha, beta = forward(len(text), found), backward(len(text), found)
    if alpha[-1] == -math.inf:
        raise ValueError(f"{text!r} cannot be cut into the pieces of this model.")
    counts: dict[str, float] = {}
    for start, end, score in found:
        share = math.exp(alpha[start] + score + beta[end] - alpha[-1])  # P(arrow)
        counts[text[start:end]] = counts.get(text[start:end], 0.0) + share
    return counts, alpha[-1]


def sample(text: str, scores: Scores, longest: int, generator: random.Random) -> list[str]:
    """A cut drawn with its probability: the same text cut anew each epoch makes a model robust ("regularisation").

    Forward once, then walk back from the last dot: the arrow into dot j is drawn with probability
    exp(alpha(i) + score - alpha(j)).
    """
    found = list(arrows(text, scores, longest))
    alpha = forward(len(text), found)
    if alpha[-1] == -math.inf:
        raise ValueError(f"{text!r} cannot be cut into the pieces of this model.")
    pieces, end = [], len(text)
    while end:
        into = [(start, alpha[start] + score - alpha[end]) for start, stop, score in found if stop == end]
        start = generator.choices([start for start, _ in into], [math.exp(log) for _, log in into])[0]
        pieces.append(text[start:end])
        end = start
    return pieces[::-1]
