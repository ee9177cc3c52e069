"""Speculative decoding: a small model guesses several tokens, the large one checks them all in one pass.

The idea: decoding reads all weights for each token and leaves the arithmetic units idle (``roofline.py``). Checking k
guesses costs one forward pass over k + 1 tokens, about the price of one, and yields between 1 and k + 1 tokens. The
output is *exactly* the large model's: with the draft's distribution q and the target's p, a guess x ~ q is accepted
with probability min(1, p(x) / q(x)), and at the first rejection a token is drawn from the rest, max(0, p - q)
normalised:

    P(x) = q(x) min(1, p(x)/q(x)) + (1 - sum_v min(p(v), q(v))) * max(0, p(x) - q(x)) / sum_v max(0, p(v) - q(v))
         = min(p(x), q(x)) + max(0, p(x) - q(x)) = p(x),

since both sums over v that are left equal 1 - sum_v min(p(v), q(v)). Greedy decoding is the case of one-hot p and q.

Source: Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding", 2022; Chen et al.,
2023. Drafting by looking the text up in itself: Saxena, "Prompt Lookup Decoding", 2023. Left out: trees of guesses
(SpecInfer, Medusa), and speculation inside a batch (rows then advance at different speeds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.batching import probabilities


class Draft(Protocol):
    """Something that guesses how a text goes on."""

    def propose(
        self, ids: list[int], count: int, temperature: float, generator: torch.Generator
    ) -> tuple[list[int], Tensor]:
        """Up to ``count`` guesses after ``ids`` and the distributions q (k, V) they were drawn from."""


class ModelDraft:
    """A smaller decoder with the same vocabulary: a distilled student."""

    def __init__(self, model: Decoder) -> None:
        self.model, self.cache = model, KVCache(model.config.layers)

    def propose(
        self, ids: list[int], count: int, temperature: float, generator: torch.Generator
    ) -> tuple[list[int], Tensor]:
        """k = ``count`` guesses, one forward pass each."""
        # All of ids but the last token may be in the cache already; guesses that were rejected are cut off.
        self.cache.truncate(min(self.cache.length, len(ids) - 1))
        guesses, rows = [], []
        new = torch.tensor([ids[self.cache.length :]])  # (1, T)
        for _ in range(count):
            logits = self.model(new, self.cache)[0, -1]  # (V,)
            rows.append(probabilities(logits, temperature))  # (V,): q
            guesses.append(_draw(rows[-1], generator))
            new = torch.tensor([guesses[-1:]])  # (1, 1)
        return guesses, torch.stack(rows)  # (k, V)


class LookupDraft:
    """No model at all: where the last ``size`` tokens stood before, propose what followed them there.

    Answers that quote their sources repeat long stretches of the prompt, which makes these guesses good and free.
    """

    def __init__(self, vocabulary: int, size: int = 3) -> None:
        self.vocabulary, self.size = vocabulary, size

    def propose(
        self, ids: list[int], count: int, temperature: float, generator: torch.Generator
    ) -> tuple[list[int], Tensor]:
        """k <= ``count`` guesses, perhaps none; q is one-hot, as there is no chance in them."""
        end, guesses = ids[-self.size :], []
        for start in range(len(ids) - self.size - 1, -1, -1):  # the latest place first
            if ids[start : start + self.size] == end:
                guesses = ids[start + self.size : start + self.size + count]
                break
        rows = torch.zeros(len(guesses), self.vocabulary)  # (k, V)
        rows[torch.arange(len(guesses)), guesses] = 1.0
        return guesses, rows


@dataclass
class Tally:
    """What speculation earned: ``guessed`` tokens, ``accepted`` of them, ``rounds`` passes of the large model.

    ``tested`` guesses were looked at: those after the first rejection of a round never are.
    """

    guessed: int = 0
    tested: int = 0
    accepted: int = 0
    rounds: int = 0

    @property
    def rate(self) -> float:
        """The share of all guesses that were accepted: it falls with the number of guesses a round."""
        return self.accepted / max(self.guessed, 1)

    @property
    def chance(self) -> float:
        """The chance that a guess which is tested is accepted: the a of the paper's theorems."""
        return self.accepted / max(self.tested, 1)


def accept(guesses: list[int], q: Tensor, p: Tensor, generator: torch.Generator) -> list[int]:
    """The tokens that the guesses earn: those accepted, and one more from the large model.

    ``q`` (k, V) are the draft's distributions, ``p`` (k + 1, V) the large model's at the same places and one further.
    """
    for place, guess in enumerate(guesses):
        ratio = p[place, guess] / q[place, guess]  # (): q is above 0, the guess was drawn from it
        if torch.rand((), generator=generator) >= ratio:  # reject with probability 1 - min(1, p/q)
            rest = (p[place] - q[place]).clamp(min=0)  # (V,): max(0, p - q); multinomial normalises it
            return [*guesses[:place], _draw(rest, generator)]
    return [*guesses, _draw(p[len(guesses)], generator)]  # all accepted: the last distribution gives one for free


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))


@torch.inference_mode()
def speculate(
    target: Decoder,
    draft: Draft,
    prompt: list[int],
    tokens: int,
    guesses: int = 4,
    temperature: float = 0.0,
    seed: int = 0,
) -> tuple[list[int], Tally]:
    """Write ``tokens`` tokens after ``prompt`` exactly as ``target`` alone would; returns them and the tally.

    Greedy output is identical token by token, sampled output in distribution. (Float rounding aside: a pass over
    several tokens sums in another order than a pass over one, which could turn a tie of logits.) Raises ValueError.
    """
    if not prompt or tokens < 1 or guesses < 1 or len(prompt) + tokens > target.config.context:
        raise ValueError("Give a prompt, at least one token and one guess, and no more tokens than the context holds.")
    generator = torch.Generator().manual_seed(seed)
    cache, ids, tally = KVCache(target.config.layers), list(prompt), Tally()
    end = len(prompt) + tokens
    while len(ids) < end:
        count = min(guesses, end - len(ids) - 1)  # the round's own extra token needs a place too
        guessed, q = draft.propose(ids, count, temperature, generator) if count else ([], torch.empty(0))  # (k, V)
        new = torch.tensor([[*ids[cache.length :], *guessed]])  # (1, T): what the cache lacks, then the guesses
        hidden = target.hidden(new, cache)[0, -len(guessed) - 1 :]  # (k + 1, C)
        p = probabilities(target.head(hidden), temperature)  # (k + 1, V)
        earned = accept(guessed, q, p, generator)
        ids += earned
        cache.truncate(len(ids) - 1)  # rejected guesses leave the cache; the newest token is not in it yet
        tally.guessed += len(guessed)
        tally.tested += min(len(earned), len(guessed))  # the accepted ones, and the one rejected if there is one
        tally.accepted += len(earned) - 1
        tally.rounds += 1
    return ids[len(prompt) :], tally


def expected_speedup(chance: float, guesses: int, cost: float) -> float:
    """How much faster than plain decoding, by the paper's theorem 3.8.

    ``chance`` is a, that a tested guess is accepted, ``cost`` a draft step's time over a target step's, c:
    (1 - a^(k+1)) / (1 - a) tokens for the time of k c + 1 steps.
    """
    earned = guesses + 1 if chance == 1 else (1 - chance ** (guesses + 1)) / (1 - chance)
    return earned / (guesses * cost + 1)
