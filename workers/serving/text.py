"""From tokens to text while they come: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

BROKEN = "\N{REPLACEMENT CHARACTER}"
BEFORE = 6  # tokens of the prompt that the first ones are read after: some tokenizers drop a space at the start


class Reader:
    """Turns a row's tokens into text. A character that needs several tokens appears with the last of them."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt[-BEFORE:])
        self._begin, self._read = 0, len(self._ids)  # text up to _read is out; _begin is where decoding starts

    def push(self, tokens: Sequence[int], *, last: bool = False) -> str:
        """The text that is settled now. ``last``: also a character that stays incomplete."""
        self._ids += tokens
        before = self._decode(self._begin, self._read)
        text = self._decode(self._begin, len(self._ids))
        if len(text) <= len(before) or (text.endswith(BROKEN) and not last):
            return ""
        self._begin, self._read = self._read, len(self._ids)
        return text[len(before) :]

    def _decode(self, begin: int, end: int) -> str:
        return self._tokenizer.decode(self._ids[begin:end], skip_special_tokens=True)


class Stops:
    """Ends a text before the first stop string, which may begin in one token and end in another."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""

    def push(self, text: str, *, last: bool = False) -> tuple[str, bool]:
        """What may be shown now, and whether a stop string was met. Text that may be its beginning is held back."""
        if not self._strings:
            return text, False
        text = self._held + text
        places = [place for string in self._strings if (place := text.find(string)) >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        hold = 0 if last else max(_overlap(text, string) for string in self._strings)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold], False


def _overlap(text: str, string: str) -> int:
    """The length of the longest end of ``text`` that ``string`` begins with."""
    longest = min(len(text), len(string) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(string[:size])), 0)
