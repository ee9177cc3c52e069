"""Whether two questions ask the same: what must be equal before their vectors are even compared.

Vectors of questions that differ in one telling word lie close together: "enable" and "disable", "staging" and
"production", "log in" and "log out". So the words that carry the matter must be the same ones, and the small words that
turn it (negation, direction, amount, time), and what kind of question it is. The vectors have the last word on what is
left: the manner. Other languages than English come off more strictly: all their words count.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass

from assistant.knowledge.lexical import tokens

# Function words that turn a question into another one.
_TURNS = frozenset(
    """
    not no nor cannot never neither none without off out up down over under above below before after during until
    against between only more most less least few fewer each other same again both into from than all any once own
    through while some such too
    """.split()
)
_KINDS = frozenset("who whom whose when where which why what how".split())
_MEASURES = frozenset("many much long often far old big large fast soon late high low".split())
_ABLE = frozenset("can could may might able possible allowed possibly".split())
_MUST = frozenset("should must shall ought need needs needed necessary required".split())
_LATER = frozenset("will won't shall going".split())
_EARLIER = frozenset("was were did had wasn't weren't didn't hadn't been".split())
# Content words that say nothing about what is asked.
_FILLERS = frozenset(
    tokens(
        "best good way ways current currently exactly actually really want like know sure explain question wondering"
        " looking trying possible possibly able allowed need needs needed necessary required going"
    )
)
_HAVE_TO = re.compile(r"\bha(?:ve|s|d) to\b")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Likeness:
    """Equal in questions that may be the same. ``terms`` keep their order, which tells A to B from B to A."""

    kind: tuple[str, ...]
    turns: tuple[str, ...]
    terms: tuple[str, ...]

    @property
    def key(self) -> str:
        """The same text for questions that may be the same."""
        return "\n".join(" ".join(part) for part in (self.kind, self.turns, self.terms))


def likeness(question: str) -> Likeness:
    text = unicodedata.normalize("NFKC", question).replace("’", "'").casefold()
    words = [word.removesuffix("'s").removesuffix("'re") for word in _WORD.findall(text)]
    turns = sorted("not" if _negates(word) else word for word in words if word in _TURNS or _negates(word))
    terms = tuple(term for term in tokens(question) if term not in _FILLERS)
    return Likeness(_kind(text, words), tuple(turns), terms)


def _negates(word: str) -> bool:
    return word in ("no", "not", "cannot") or word.endswith("n't")


def _kind(text: str, words: list[str]) -> tuple[str, ...]:
    """Who, when, how many; whether it may or whether it must; whether it was or will be."""
    asked = set(words)
    kinds = sorted(asked & _KINDS)
    for first, second in itertools.pairwise(words):
        if first == "how" and second in _MEASURES:
            kinds.append(f"how {second}")
    if "how" not in asked:  # how can I, how do I, how should we: all the same
        if asked & _MUST or _HAVE_TO.search(text):
            kinds.append("must")
        elif asked & _ABLE:
            kinds.append("able")
    return (*kinds, *(["later"] if asked & _LATER else []), *(["earlier"] if asked & _EARLIER else []))
