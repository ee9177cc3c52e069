"""The unigram tokenizer's training: begin with too many pieces, fit, throw the least useful away, repeat.

BPE and WordPiece grow a vocabulary; this one shrinks it. Each piece has a probability and the text has many cuts, which
nobody observed: a case for expectation-maximisation.

    E step   c(x) = sum over words w of  n(w) E[times x occurs in a cut of w]       (``lattice.expected``)
    M step   p(x) = c(x) / sum of c                                                 (or its Bayesian form, below)
    prune    drop the pieces whose loss is least, where the loss of x is how much likelihood the corpus loses if each x
             were written with the best cut of x into other pieces:  c(x) (log p(x) - log p(best other cut of x))

With exp(digamma(c)) in place of c, as SentencePiece has it, a piece seen c times counts as about c - 1/2: rare pieces
lose, and the vocabulary becomes sparse by itself.

Source: Kudo, "Subword Regularization" (2018); Kudo and Richardson, "SentencePiece" (2018), whose constants are used
(12 characters at most, keep three quarters a round, drop what is expected less than half a time).
Left out: the suffix array that finds the seed pieces in a large corpus (here: all substrings of the different words),
and that the counts of the other pieces grow when one is dropped (the next E step finds that out).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from scipy.special import digamma

from ml.week05_tokenization.lattice import BLANK, expected, viterbi

LONGEST = 12  # characters in a piece
KEEP = 0.75  # of the pieces in each round
RARE = 0.5  # expected occurrences below which a piece is dropped


def marked_words(texts: Iterable[str]) -> Counter[str]:
    """Words with their blank before them, ``▁like``, and how often each occurs."""
    return Counter(BLANK + word for text in texts for word in text.split())


def seed_pieces(words: Mapping[str, int], number: int) -> dict[str, float]:
    """The first, much too large model: all characters, and the substrings that hold most text (count x length)."""
    single, longer = Counter(), Counter()
    for word, count in words.items():
        for start in range(len(word)):
            single[word[start]] += count
            for end in range(start + 2, min(start + LONGEST, len(word)) + 1):
                longer[word[start:end]] += count
    useful = sorted(longer, key=lambda piece: (-longer[piece] * len(piece), piece))
    seed = dict(single) | {piece: longer[piece] for piece in useful[:number] if longer[piece] > 1}
    total = math.log(sum(seed.values()))
    return {piece: math.log(count) - total for piece, count in seed.items()}


def e_step(words: Mapping[str, int], scores: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Expected counts of all pieces in the corpus, and the corpus's log-likelihood in nats."""
    longest = max(map(len, scores))
    counts: dict[str, float] = dict.fromkeys(scores, 0.0)
    likelihood = 0.0
    for word, frequency in words.items():
        found, log_probability = expected(word, scores, longest)
        for piece, share in found.items():
            counts[piece] += frequency * share
        likelihood += frequency * log_probability
    return counts, likelihood


def m_step(counts: Mapping[str, float], bayesian: bool = True) -> dict[str, float]:
    """New log-probabilities. The plain form never lowers the likelihood; the Bayesian one makes rare pieces rarer.

    Pieces of more than one character that are expected less than ``RARE`` times are dropped (not in the plain form).
    """
    if not bayesian:
        total = math.log(sum(counts.values()))
        return {piece: math.log(count) - total for piece, count in counts.items() if count > 0}
    kept = {piece: max(count, RARE) for piece, count in counts.items() if count >= RARE or len(piece) == 1}
    total = float(digamma(sum(kept.values())))
    return {piece: float(digamma(count)) - total for piece, count in kept.items()}  # log of exp(digamma(c))


def prune(scores: Mapping[str, float], counts: Mapping[str, float], number: int) -> dict[str, float]:
    """The ``number`` pieces whose loss would hurt most; single characters always stay, so that every word has a cut."""
    longest = max(map(len, scores))
    losses: dict[str, float] = {}
    for piece, score in scores.items():
        if len(piece) == 1:
            losses[piece] = math.inf
            continue
        others = {part: scores[part] for part in _parts(piece) if part in scores}
        _, alternative = viterbi(piece, others, longest)
        losses[piece] = counts.get(piece, 0.0) * (score - alternative)  # c(x) (log p(x) - log p(best other cut))
    best = sorted(scores, key=lambda piece: (-losses[piece], piece))[
        : max(number, sum(map(math.isinf, losses.values())))
    ]
    return {piece: scores[piece] for piece in best}


def _parts(piece: str) -> set[str]:
    """All substrings of ``piece`` but itself."""
    parts = {piece[start:end] for start in range(len(piece)) for end in range(start + 1, len(piece) + 1)}
    return parts - {piece}


def train_unigram(
    words: Mapping[str, int], size: int, seeds: int | None = None
) -> Iterator[tuple[dict[str, float], float]]:
    """Yield the model of each round: (piece -> log-probability, log-likelihood in nats before its last M step).

    The last has ``size`` pieces, or a few less where the last M step found some too rare.
    ``seeds`` is the size of the first model, ten times ``size`` when not given. Raises ValueError when the characters
    alone are more than ``size``.
    """
    scores = seed_pieces(words, seeds or 10 * size)
    if (characters := sum(len(piece) == 1 for piece in scores)) > size:
        raise ValueError(f"The corpus has {characters} different characters; a vocabulary of {size} is too small.")
    while True:
        for _ in range(2):
            counts, likelihood = e_step(words, scores)
            scores = m_step(counts)
        yield scores, likelihood
        if len(scores) <= size:
            return
        scores = prune(scores, counts, max(size, int(KEEP * len(scores))))
