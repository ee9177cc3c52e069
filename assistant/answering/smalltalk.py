"""Small talk in four languages: messages of which every word greets, thanks, or says goodbye.

They need no documents, no tool and no model. Everything that holds one word more is a question, and treated as such:
a question that is taken for small talk gets no answer, small talk that is searched for costs 20 ms.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.answering.messages import Turn
from assistant.strings import LANGUAGES, catalogue, say

# What is answered where several are said at once: "hi, who are you?" asks who we are.
KINDS = ("who_are_you", "how_are_you", "thanks", "praise", "bye", "sorry", "greeting", "fine")
BETWEEN = "between"
MOST_WORDS, LONGEST = 12, 120  # characters

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_APOSTROPHE = re.compile("[’ʼ`´]")
_LONG = re.compile(r"(\w)\1{2,}")
_LAUGHTER = re.compile(r"(?:a?(?:ha){2,}h?|(?:he){2,}|(?:ja){2,}|(?:hi){2,}|lo+l)")


@dataclass(frozen=True, slots=True)
class SmallTalk:
    kind: str
    language: str

    @property
    def reply(self) -> str:
        return say(f"smalltalk.reply_{self.kind}", self.language)


def small_talk(text: str, language: str, turns: Sequence[Turn] = ()) -> SmallTalk | None:
    """The small talk that ``text`` is; None for everything else. ``language`` is used where the words do not tell.

    Where the last thing said was a question, "yes" is an answer to it.
    """
    if len(text) > LONGEST or (turns and turns[-1].answer.rstrip().endswith(("?", "？"))):
        return None
    words = _words(text)
    if not words:
        waves = any(unicodedata.category(letter) == "So" for letter in text)
        return SmallTalk("fine", language) if waves and not _WORD.search(text) else None
    said = _covered(words) if len(words) <= MOST_WORDS else None
    kinds = {kind for kind, _ in said or () if kind != BETWEEN}
    if not kinds:
        return None
    return SmallTalk(next(kind for kind in KINDS if kind in kinds), _language(said or (), language))


def _words(text: str) -> list[str]:
    folded = _APOSTROPHE.sub("'", unicodedata.normalize("NFKC", text).casefold().replace("-", " "))
    return [_LONG.sub(r"\1", word) if not _LAUGHTER.fullmatch(word) else "haha" for word in _WORD.findall(folded)]


def _covered(words: Sequence[str]) -> list[tuple[str, frozenset[str]]] | None:
    """The phrases (kind, languages) that make up all the words, as few as can be; None where a word is left over."""
    phrases, longest = _phrases()
    best: list[list[tuple[str, frozenset[str]]] | None] = [[]]
    for end in range(1, len(words) + 1):
        found: list[tuple[str, frozenset[str]]] | None = None
        for start in range(max(0, end - longest), end):
            before, phrase = best[start], phrases.get(tuple(words[start:end]))
            if before is not None and phrase is not None and (found is None or len(before) + 1 < len(found)):
                found = [*before, phrase]
        best.append(found)
    return best[-1]


def _language(said: Sequence[tuple[str, frozenset[str]]], language: str) -> str:
    """That of most phrases; the given one where it is among them."""
    counts = {code: sum(code in languages for _, languages in said) for code in LANGUAGES}
    most = max(counts.values())
    return language if counts.get(language) == most else next(code for code in LANGUAGES if counts[code] == most)


@functools.cache
def _phrases() -> tuple[dict[tuple[str, ...], tuple[str, frozenset[str]]], int]:
    """Words of a phrase -> its kind and languages, and the length of the longest; a kind counts before "between"."""
    found: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {}
    for language, texts in catalogue("smalltalk").items():
        for kind in (*KINDS, BETWEEN):
            for phrase in texts[kind].split("|"):
                words = tuple(_words(phrase))
                known, languages = found.get(words, (kind, frozenset()))
                first = known if known != BETWEEN else kind
                found[words] = (first, languages | {language})
    return found, max(map(len, found))
