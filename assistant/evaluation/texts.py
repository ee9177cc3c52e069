"""How near a text is to a reference: token F1 (SQuAD) and ROUGE-L, by the published definitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_WORD = re.compile(r"[^\W_]+")
_MARKER = re.compile(r"[ \t]*\[\d{1,3}\](?!\()")


def without_markers(text: str) -> str:
    """The text without its ``[n]``."""
    return _MARKER.sub("", text)


def normalised(text: str) -> list[str]:
    """Lower-case words without punctuation and English articles, as SQuAD's script compares them."""
    return _WORD.findall(_ARTICLES.sub(" ", text.lower()))


def token_f1(text: str, reference: str) -> float:
    """Harmonic mean of the precision and recall of words, each counted as often as it stands; both empty: 1."""
    said, wanted = normalised(text), normalised(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004, beta 1), case and punctuation left out."""
    said, wanted = _WORD.findall(text.lower()), _WORD.findall(reference.lower())
    if not said or not wanted:
        return float(said == wanted)
    return 2 * _common(said, wanted) / (len(said) + len(wanted))


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence; one row of the usual table at a time."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]
