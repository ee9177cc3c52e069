"""A tokenizer from learnt merges: text to ids and back, with special tokens.

Encoding replays the training: of all pairs in a word that some merge joins, join the one learnt first, until none is
left. Decoding is a table. Everything that surprises in practice sits at the edges:

- Ids are bytes, not characters. A model may stop in the middle of an emoji, so decoding must survive broken UTF-8.
- ``<|im_end|>`` as a special token is one id that no ordinary text encodes to. Recognised in text that a user typed, it
  would let the user end his turn and speak as the system; so recognition is asked for, never assumed.

Source: Radford et al. (2019), and the encoder published with it.
Left out: speed (a heap for words of many thousand bytes), and the offsets of tokens in the text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import regex

from ml.week05_tokenization.bpe_plain import Pair, join_pair
from ml.week05_tokenization.bpe_train import train
from ml.week05_tokenization.text import BYTE_ORDER, GPT2, ID_OF_BYTE, count_words, split, to_bytes


class BytePairEncoding:
    """``merges`` in the order learnt; ``special``: names such as ``<|endoftext|>`` and their ids, behind the rest.

    ``tokens[id]`` are an id's bytes. Raises ValueError when a special id is taken or a merge names an id that is not
    there yet.
    """

    def __init__(self, merges: Sequence[Pair], pattern: str = GPT2, special: Mapping[str, int] | None = None) -> None:
        self.pattern = pattern
        self.tokens = [bytes([byte]) for byte in BYTE_ORDER]
        self.rank: dict[Pair, int] = {}  # pair -> when it was learnt
        self.joined: dict[Pair, int] = {}  # pair -> the id it makes
        ids = {token: number for number, token in enumerate(self.tokens)}
        for rank, pair in enumerate(merges):
            if max(pair) >= len(self.tokens):
                raise ValueError(f"Merge {rank} joins {pair}, but only {len(self.tokens)} tokens exist by then.")
            token = self.tokens[pair[0]] + self.tokens[pair[1]]
            if token not in ids:
                ids[token] = len(self.tokens)
                self.tokens.append(token)
            self.rank[pair] = rank
            self.joined[pair] = ids[token]
        self.special = dict(special or {})
        if taken := [name for name, number in self.special.items() if number < len(self.tokens)]:
            raise ValueError(f"The special token {taken[0]} has an id of the {len(self.tokens)} ordinary tokens.")
        self._name = {number: name for name, number in self.special.items()}
        self._seen: dict[str, list[int]] = {}  # words repeat: the commonest few thousand are most of any text

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, pattern: str = GPT2, special: Sequence[str] = ()
    ) -> BytePairEncoding:
        """Learn ``size`` tokens (the special ones come on top, behind them)."""
        merges, tokens = train(count_words(texts, pattern), size)
        return cls(merges, pattern, {name: len(tokens) + place for place, name in enumerate(special)})

    def __len__(self) -> int:
        return len(self.tokens) + len(self.special)

    def encode(self, text: str, allowed: Collection[str] = ()) -> list[int]:
        """The ids of ``text``. Names of special tokens are ordinary text unless they are in ``allowed``.

        Raises ValueError for text with half of a surrogate pair, and for an allowed name that is no special token.
        """
        ids: list[int] = []
        for piece in self._cut_at_special(text, allowed):
            if piece in allowed:
                ids.append(self.special[piece])
            else:
                for word in split(piece, self.pattern):
                    ids.extend(self._encode_word(word))
        return ids

    def _cut_at_special(self, text: str, allowed: Collection[str]) -> Iterator[str]:
        if unknown := set(allowed) - set(self.special):
            raise ValueError(f"{min(unknown)!r} is none of this tokenizer's special tokens.")
        if not allowed:
            return iter([text])
        # The longest first: where one name begins with another, the longer is meant. A group keeps what it splits at.
        names = sorted(allowed, key=len, reverse=True)
        return filter(None, regex.split(f"({'|'.join(map(regex.escape, names))})", text))

    def _encode_word(self, word: str) -> list[int]:
        if word not in self._seen:
            ids: Sequence[int] = [ID_OF_BYTE[byte] for byte in to_bytes(word)]
            while len(ids) > 1:
                # Not the longest token, not the fewest tokens: the merge that was learnt first.
                pair = min(pairwise(ids), key=lambda pair: self.rank.get(pair, len(self.rank)))
                if pair not in self.rank:
                    break
                ids = join_pair(ids, pair, self.joined[pair])
            self._seen[word] = list(ids)
        return self._seen[word]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ``ids``; raises ValueError for an id that does not exist."""
        parts = []
        for number in ids:
            if number in self._name:
                parts.append(to_bytes(self._name[number]))
            elif 0 <= number < len(self.tokens):
                parts.append(self.tokens[number])
            else:
                raise ValueError(f"{number} is no token: the vocabulary has {len(self)}.")
        return b"".join(parts)

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of ``ids``. Bytes that are no UTF-8 become U+FFFD; ``errors="strict"`` raises ValueError."""
        try:
            return self.decode_bytes(ids).decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise ValueError(f"The tokens are no UTF-8: {error.reason} at byte {error.start}.") from None
