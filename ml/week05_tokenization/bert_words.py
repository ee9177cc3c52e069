"""What BERT does to a text before WordPiece: clean it, fold it, cut it at blanks and signs.

Unlike GPT-2's cut this one forgets: blanks, line ends, capitals and accents cannot be had back from the ids. For search
that is a strength ("Résumé" finds "resume"); for a model that must write it is out of the question.

Source: Devlin et al. (2018), the tokenizer published with it; in this order: clean, set Chinese characters apart, strip
accents, lower-case, cut.
Left out: the cased model (no stripping, no lower-casing).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from ml.week05_tokenization.wordpiece import encode_word

# Blocks of CJK ideographs, whose words have no blanks between them: each character is a word of its own.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip

_DROPPED = {"Cc", "Cf", "Co"}  # control, format (joiners, direction marks) and private use: nothing to read


def bert_words(text: str) -> list[str]:
    """The words and signs of ``text``, folded."""
    text = "".join(_clean(text))
    text = "".join(f" {character} " if _is_ideograph(character) else character for character in text)
    # NFD writes é as e and a combining accent, whose category is Mn; without those, the e is left.
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    text = "".join(c.lower() for c in text)  # one by one: "ΣΑΣ".lower() knows that the last sigma is another letter
    return [word for part in text.split() for word in _cut_at_signs(part)]


def _clean(text: str) -> Iterator[str]:
    for character in text:
        if character in "\0\ufffd" or (unicodedata.category(character) in _DROPPED and character not in "\t\n\r"):
            continue
        yield " " if character.isspace() else character


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def _cut_at_signs(part: str) -> Iterator[str]:
    word = ""
    for character in part:
        # In ASCII everything that is no letter or digit counts as a sign, "$" and "+" too; elsewhere only category P.
        ascii_sign = character.isascii() and not character.isalnum()
        if ascii_sign or unicodedata.category(character).startswith("P"):
            if word:
                yield word
            yield character
            word = ""
        else:
            word += character
    if word:
        yield word


def encode_bert(text: str, vocabulary: Mapping[str, int]) -> list[int]:
    """The ids of ``text`` as BERT sees them, ``[CLS]`` first and ``[SEP]`` last."""
    ids = [number for word in bert_words(text) for number in encode_word(word, vocabulary)]
    return [vocabulary["[CLS]"], *ids, vocabulary["[SEP]"]]
