"""WordPiece: BERT's subwords. Greedy longest match to encode; a score of pairs to train.

A token that continues a word is written ``##ing``; one that begins it, ``ing``. Encoding takes from the left the
longest token that fits, again and again; when nothing fits, the *whole word* becomes ``[UNK]``. (That is the
product's model: a word with one unknown character is one unknown token, whatever else it says.)

Training joins pairs as BPE does, but the question is which pair. Three answers are in use under one name:

- ``count``: n(ab), the most frequent pair. That is BPE, and it is what Hugging Face's WordPieceTrainer does.
- ``ratio``: n(ab) / (n(a) n(b)), the formula most tutorials give. It loves pairs of rare letters.
- ``gain``: n(ab) (log(n(ab) N / (n(a) n(b))) - 1), the growth of the corpus's log-likelihood under a unigram model (to
  first order), which is what the paper says it maximises. Frequent *and* more often together than chance has it.

Source: Schuster and Nakajima, "Japanese and Korean Voice Search" (2012); Devlin et al., "BERT" (2018). Google never
published its trainer.
Left out: the heap for ``ratio`` and ``gain``. Their scores move whenever a *neighbour's* frequency does, so stale
entries may say less than the truth, and the trick of ``bpe_train.py`` fails; each round looks at all pairs instead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from ml.week05_tokenization.bpe_plain import Pair
from ml.week05_tokenization.bpe_train import PairCounts, learn_merges

Score = Literal["count", "ratio", "gain"]
PREFIX = "##"


def alphabet(words: Mapping[str, int]) -> list[str]:
    """The first tokens: every character, and every one that stands inside a word once more with ``##``; both sorted."""
    characters = {character for word in words for character in word}
    inside = {PREFIX + character for word in words for character in word[1:]}
    return sorted(characters) + sorted(inside)


def join_tokens(left: str, right: str) -> str:
    """``play`` and ``##ing`` make ``playing``; ``##a`` and ``##b`` make ``##ab``."""
    return left + right.removeprefix(PREFIX)


def train_wordpiece(
    words: Mapping[str, int], size: int, score: Score = "gain", first: Sequence[str] | None = None
) -> list[str]:
    """A vocabulary of ``size`` tokens (fewer when no pair is left) from words and their frequency.

    ``first`` gives the alphabet in another order than ``alphabet`` does (ties go to the smaller ids). Raises ValueError
    when the alphabet alone is larger than ``size``, and for an unknown ``score``.
    """
    if score not in ("count", "ratio", "gain"):
        raise ValueError(f"score is count, ratio or gain, not {score!r}.")
    tokens = list(first or alphabet(words))
    if len(tokens) > size:
        raise ValueError(f"The alphabet alone has {len(tokens)} tokens; {size} is too small.")
    ids = {token: number for number, token in enumerate(tokens)}
    rows = {
        tuple(ids[(PREFIX if place else "") + character] for place, character in enumerate(word)): count
        for word, count in words.items()
    }
    if score == "count":
        learn_merges(rows, tokens, size, join_tokens)
    else:
        _learn_by_score(rows, tokens, size, score)
    return tokens


def _learn_by_score(rows: Mapping[tuple[int, ...], int], tokens: list[str], size: int, score: Score) -> None:
    pairs = PairCounts(rows)
    single: Counter[int] = Counter()  # n(a): how often each token occurs
    for row, count in rows.items():
        for number in row:
            single[number] += count
    ids = {token: number for number, token in enumerate(tokens)}
    while len(tokens) < size:
        pairs.counts = +pairs.counts  # forget the pairs that are gone
        if not pairs.counts:
            return
        best = _best_pair(pairs.counts, single, score)
        token = join_tokens(tokens[best[0]], tokens[best[1]])
        if token not in ids:
            ids[token] = len(tokens)
            tokens.append(token)
        _join_and_count(pairs, single, best, ids[token])


def _best_pair(joint: Counter[Pair], single: Counter[int], score: Score) -> Pair:
    total = single.total()  # N: tokens in the corpus as it is cut now

    def value(pair: Pair) -> float:
        ratio = joint[pair] / (single[pair[0]] * single[pair[1]])  # n(ab) / (n(a) n(b))
        if score == "ratio":
            return ratio
        # The likelihood is the sum of n log n over the tokens, less N log N. Joining moves n(ab) occurrences from a and
        # from b to ab, and N falls by n(ab); to first order that is n(ab) (PMI - 1).
        return joint[pair] * (math.log(ratio * total) - 1)

    return max(joint, key=lambda pair: (value(pair), -pair[0], -pair[1]))


def _join_and_count(pairs: PairCounts, single: Counter[int], pair: Pair, new: int) -> None:
    """Join ``pair`` everywhere, and move the frequency of its halves to the new token."""
    held = pairs.places[pair].copy()
    before = {index: len(pairs.words[index]) for index in held}
    pairs.join(pair, new)
    joined = sum((before[index] - len(pairs.words[index])) * pairs.frequencies[index] for index in held)
    for number, sign in ((pair[0], -1), (pair[1], -1), (new, +1)):
        single[number] += sign * joined


def encode_word(word: str, vocabulary: Mapping[str, int], unknown: str = "[UNK]", longest: int = 100) -> list[int]:
    """The ids of one word by greedy longest match; one ``unknown`` when a part fits nothing, or past ``longest``."""
    if len(word) > longest:
        return [vocabulary[unknown]]
    ids: list[int] = []
    start = 0
    while start < len(word):
        prefix = PREFIX if start else ""
        for end in range(len(word), start, -1):  # the longest first
            if (number := vocabulary.get(prefix + word[start:end])) is not None:
                break
        else:
            return [vocabulary[unknown]]
        ids.append(number)
        start = end
    return ids


def decode_words(ids: Sequence[int], tokens: Sequence[str]) -> str:
    """The words of ``ids`` with a blank between: what BERT's cut took away (blanks, case, accents) is gone for good."""
    return " ".join(tokens[number] for number in ids).replace(f" {PREFIX}", "")
