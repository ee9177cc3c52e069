"""Constrained decoding: a real model's scores, and a mask that only lets through what can still become valid.

Idea.    The automaton reads bytes, the model writes tokens of several bytes. In state s a token may follow if its
         bytes lead from s to some state; all V tokens are tried at once, byte position by byte position, in NumPy,
         and the mask of a state is kept. The score of every other token becomes -inf, and the best of the rest is
         taken. Where only one text can follow (a property's name), it is put in without asking the model.

             allowed(s, t)  ⇔  δ(s, bytes(t)) = s' exists  and  distance(s') ≤ tokens left - 1

         The second half makes it end in time: a state at distance d can be finished in d more tokens of one byte
         each. So every text that comes out is complete and valid, whatever the model's weights are. The tests put
         random scores in its place.
Source.  Willard and Louf (2023); Dong et al., "XGrammar" (2024); Zheng et al., "SGLang" (2024), for the forced text.
Left out. Sampling at a temperature (mask first, then sample), beams, masks on a GPU. A mask changes *which* texts are
         possible, not how good they are: among valid calls the model still picks by its own, renormalised scores, and
         these can be bad (Park et al., "Grammar-Aligned Decoding", 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ml.week04_transformers.cache import KVCache
from ml.week10_agents.automaton import Automaton

Scores = npt.NDArray[np.float32]


class Vocabulary:
    """The bytes of each token, as arrays: ``bytes`` (V, L) padded with 0, ``lengths`` (V,), 0 for tokens without
    bytes."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.lengths = np.array([len(token) for token in tokens])  # (V,)
        self.bytes = np.zeros((len(tokens), max(self.lengths)), np.uint8)  # (V, L)
        for row, token in zip(self.bytes, tokens, strict=True):
            row[: len(token)] = np.frombuffer(token, np.uint8)
        self.singles = {token[0] for token in tokens if len(token) == 1}

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """The vocabulary of a byte-level BPE tokenizer; special tokens have no bytes and can never be chosen."""
        letters = {letter: byte for byte, letter in byte_letters().items()}
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        return cls(
            [
                b"" if index in special or not set(name) <= letters.keys() else bytes(letters[c] for c in name)
                for index, name in enumerate(names)
            ]
        )


def byte_letters() -> dict[int, str]:
    """GPT-2's table: each byte has a printable letter, so that tokens can be written as text (week 5)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}


class Masks:
    """The tokens that may follow each state of an automaton, worked out when first asked for."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary) -> None:
        single = np.array(sorted(vocabulary.singles))  # bytes that are tokens of their own
        after = automaton.table[:, single]  # (S, singles)
        nearest = np.where(after >= 0, automaton.distance[after], len(automaton.table)).min(axis=1)  # (S,)
        if (~automaton.accepting & (nearest != automaton.distance - 1)).any():  # the promise to end in time rests on it
            raise ValueError("The vocabulary lacks single bytes that the grammar needs.")
        self.automaton, self.vocabulary = automaton, vocabulary
        self._ends: dict[int, npt.NDArray[np.int32]] = {}

    def ends(self, state: int) -> npt.NDArray[np.int32]:
        """(V,): the state after each token, -1 where it may not follow."""
        if state not in self._ends:
            here = np.full(len(self.vocabulary.lengths), state, np.int32)  # (V,)
            here[self.vocabulary.lengths == 0] = -1
            alive = np.flatnonzero(here >= 0)  # (A,)
            for position in range(self.vocabulary.bytes.shape[1]):
                alive = alive[self.vocabulary.lengths[alive] > position]
                here[alive] = self.automaton.table[here[alive], self.vocabulary.bytes[alive, position]]  # (A,)
                alive = alive[here[alive] >= 0]
            self._ends[state] = here
        return self._ends[state]

    def allowed(self, state: int, left: int) -> npt.NDArray[np.bool_]:
        """(V,): the tokens that may follow when ``left`` tokens are left, this one included."""
        ends = self.ends(state)
        return (ends >= 0) & (self.automaton.distance[ends] <= left - 1)


class Scorer(Protocol):
    """A language model as decoding needs it."""

    def start(self, prompt: Sequence[int]) -> Scores:
        """Forget everything, read the prompt, return the scores of the next token, (V,)."""

    def extend(self, tokens: Sequence[int]) -> Scores:
        """Read these tokens as well."""


class DecoderScorer:
    """Week 4's decoder with its cache. ``start`` keeps what a prompt has in common with the last one."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.cache, self.seen = KVCache(model.config.layers), list[int]()

    def start(self, prompt: Sequence[int]) -> Scores:
        """(V,) scores after the prompt."""
        same = 0
        while same < min(len(prompt) - 1, len(self.seen)) and prompt[same] == self.seen[same]:
            same += 1
        if self.cache.length:
            self.cache.truncate(same)
        self.seen = list(prompt[:same])
        return self.extend(prompt[same:])

    def extend(self, tokens: Sequence[int]) -> Scores:
        """(V,) scores after these tokens."""
        with torch.inference_mode():
            hidden = self.model.hidden(torch.tensor([list(tokens)]), self.cache)  # (1, T, C)
            scores = self.model.head(hidden[:, -1])[0]  # (V,): only the last position is needed
        self.seen += list(tokens)
        return scores.float().numpy()


@dataclass
class Written:
    """What came out: the text, how many tokens the model chose, how many it was not asked for."""

    text: str
    chosen: int = 0
    forced: int = 0
    finished: bool = True
    best: int = field(default=0)  # choices in which the model's own favourite was allowed


def decode(
    scorer: Scorer,
    prompt: Sequence[int],
    masks: Masks,
    encode: Callable[[str], list[int]] | None = None,
    budget: int = 160,
    stop: int = 0,
) -> Written:
    """Greedy decoding within the language of ``masks.automaton``, in at most ``budget`` tokens. Always complete.

    ``encode`` turns forced text into tokens; None asks the model for every token. ``stop`` is the token with which
    the model ends a text that could go on (a number at the end). Raises ValueError for a budget below the shortest
    text.
    """
    automaton, vocabulary = masks.automaton, masks.vocabulary
    if automaton.distance[0] > budget:
        raise ValueError(
            f"The shortest text has {automaton.distance[0]} bytes; a budget of {budget} tokens is too small."
        )
    written, state, raw = Written(""), 0, bytearray()
    scores = scorer.start(prompt)  # (V,)
    while True:
        piece = whole_characters(automaton.forced(state)) if encode else b""
        if encode and piece:
            tokens = encode(piece.decode())
            written.forced += len(tokens)
        else:
            allowed = masks.allowed(state, budget - written.chosen - written.forced)  # (V,)
            token = int(np.where(allowed, scores, -np.inf).argmax())
            if automaton.accepting[state] and not (allowed[token] and scores[token] > scores[stop]):
                break
            written.chosen += 1
            written.best += int(token == scores.argmax())
            tokens, piece = [token], vocabulary.bytes[token, : vocabulary.lengths[token]].tobytes()
        raw += piece
        state = automaton.walk(state, piece)
        if automaton.accepting[state] and not (automaton.table[state] >= 0).any():
            break  # nothing can follow
        scores = scorer.extend(tokens)  # (V,)
    written.text = raw.decode()
    return written


def whole_characters(text: bytes) -> bytes:
    """The beginning of ``text`` that is whole characters: forced bytes may begin or end within one."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return text[: error.start]
    return text


def decode_freely(
    scorer: Scorer, prompt: Sequence[int], vocabulary: Vocabulary, stop: int, budget: int = 160
) -> Written:
    """Greedy decoding without a mask, until the token ``stop`` or the budget."""
    written, raw = Written("", finished=False), bytearray()
    scores = scorer.start(prompt)
    while written.chosen < budget:
        token = int(scores.argmax())
        if token == stop:
            written.finished = True
            break
        raw += vocabulary.bytes[token, : vocabulary.lengths[token]].tobytes()
        written.chosen += 1
        scores = scorer.extend([token])
    written.text = raw.decode(errors="replace")
    return written
