"""Text before any tokenizer has seen it: code points become bytes, and a regular expression cuts words.

A byte-level tokenizer never meets an unknown character: every text is UTF-8, UTF-8 is bytes, and there are 256 of them.
It never joins across certain borders either (a word and the full stop behind it), because GPT-2 cuts the text first and
learns inside the pieces only. Without the cut, "dog.", "dog!" and "dog?" would each earn a place in the vocabulary.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.2; the patterns are the
ones published with GPT-2 and with tiktoken's cl100k_base (GPT-4).
Left out: Unicode normalisation. Byte-level tokenizers do none, so that decoding gives back exactly what came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import regex  # Python's own re has no \p{L} ("any letter of any script")

# Contractions, then words, numbers and runs of signs (each with one blank before it), then blanks. In `\s+(?!\S)` the
# run gives its last blank back to the word behind it, so "a   b" is "a", "  ", " b": the common " b" stays one piece.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# GPT-4: contractions in capitals too, numbers in groups of three digits at most, line ends kept with the signs before.
GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def _byte_order() -> list[int]:
    """The 256 bytes in GPT-2's order: first those that print as one Latin-1 character, then the other 68."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # 0xAD is a soft hyphen
    return printable + [byte for byte in range(256) if byte not in set(printable)]


# The id of a single byte is its place here. Ties in training are broken by id, so the order is part of the algorithm.
BYTE_ORDER = _byte_order()
ID_OF_BYTE = {byte: number for number, byte in enumerate(BYTE_ORDER)}
# GPT-2 keeps its vocabulary in a JSON file, so each byte is shown as a character that prints: a byte that does not
# print borrows one from U+0100 on. That is where the "Ġ" (a blank) and "Ċ" (a line end) of its tokens come from.
_FIRST_BORROWED = BYTE_ORDER.index(0)  # 188: the printable ones stand for themselves
CHARACTER_OF_BYTE = {
    byte: chr(byte if number < _FIRST_BORROWED else 0x100 + number - _FIRST_BORROWED)
    for number, byte in enumerate(BYTE_ORDER)
}
_BYTE_OF_CHARACTER = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def to_bytes(text: str) -> bytes:
    """UTF-8 of ``text``.

    Raises ValueError for half of a surrogate pair: Python strings can hold one (from ``json.loads('"\\ud83d"')``, say),
    but it is no Unicode text and UTF-8 has no bytes for it. Better here than deep inside a batch.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ValueError(f"The text holds half of a surrogate pair ({half} at position {error.start}).") from None


def show(token: bytes) -> str:
    """A token as GPT-2's files print it: one visible character a byte."""
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def unshow(printed: str) -> bytes:
    """The bytes behind a token of GPT-2's files; raises ValueError for a character that stands for no byte."""
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in printed)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} stands for no byte in GPT-2's alphabet.") from None


def split(text: str, pattern: str = GPT2) -> list[str]:
    """Cut ``text`` into pieces that lose nothing: ``"".join(split(text)) == text``."""
    return [match.group() for match in regex.finditer(pattern, text)]


def count_words(texts: Iterable[str], pattern: str = GPT2) -> Counter[tuple[int, ...]]:
    """How often each piece occurs, a piece being the ids of its bytes.

    This is why training is affordable: a corpus has far fewer different words than words, and a word that occurs a
    thousand times is worked on once.
    """
    pieces = Counter(piece for text in texts for piece in split(text, pattern))
    return Counter({tuple(ID_OF_BYTE[byte] for byte in to_bytes(piece)): count for piece, count in pieces.items()})
