"""Answers to the README's exercises."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ml.week05_tokenization.bpe import BytePairEncoding
from ml.week05_tokenization.text import ID_OF_BYTE, split, to_bytes

SENTENCES = r"[^.]+\.?"  # a "cut" that lets tokens cross from word to word


def tokens_across_words(texts: Sequence[str], size: int, pattern: str) -> list[bytes]:
    """Exercise 1: the learnt tokens with a blank *inside* them, longest first."""
    tokenizer = BytePairEncoding.train(texts, size, pattern)
    crossing = [token for token in tokenizer.tokens[256:] if b" " in token[1:].rstrip(b" ")]
    return sorted(crossing, key=lambda token: (-len(token), token))


def chat_prompt(tokenizer: BytePairEncoding, turns: Sequence[tuple[str, str]]) -> list[int]:
    """Exercise 2: the ids of a conversation in ChatML, ``turns`` being (role, text), whatever the texts contain.

    The frame is encoded with its control tokens allowed, the texts with none. Building one string first and encoding
    that would turn a typed ``<|im_end|>`` into the real one.
    """
    ids: list[int] = []
    for role, text in turns:
        ids += tokenizer.encode(f"<|im_start|>{role}\n", allowed=["<|im_start|>"])
        ids += tokenizer.encode(text)
        ids += tokenizer.encode("<|im_end|>\n", allowed=["<|im_end|>"])
    return ids


def encode_with_dropout(tokenizer: BytePairEncoding, text: str, rate: float, generator: random.Random) -> list[int]:
    """Exercise 3: BPE-dropout (Provilkov et al., 2020): each possible merge is overlooked with probability ``rate``.

    At 0 this is ``encode``, at 1 the bytes. Every result decodes to the same text. Raises ValueError for a rate
    outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is a probability, not {rate}.")
    ids: list[int] = []
    for word in split(text, tokenizer.pattern):
        row = [ID_OF_BYTE[byte] for byte in to_bytes(word)]
        while True:
            seen = [
                (tokenizer.rank[pair], place)
                for place, pair in enumerate(pairwise(row))
                if pair in tokenizer.rank and generator.random() >= rate
            ]
            if not seen:
                break
            _, place = min(seen)  # the merge learnt first, the leftmost of its places
            row[place : place + 2] = [tokenizer.joined[row[place], row[place + 1]]]
        ids += row
    return ids


def better_model(models: Mapping[str, tuple[float, float]]) -> tuple[str, dict[str, float]]:
    """Exercise 4: of models with (perplexity per token, bytes per token), the better one, and all bits per byte.

    bits per byte = log2(perplexity) / (bytes per token)
    """
    bits = {name: math.log2(perplexity) / size for name, (perplexity, size) in models.items()}
    return min(bits, key=bits.__getitem__), bits
