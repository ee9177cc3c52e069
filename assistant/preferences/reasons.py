"""What the words beside a thumb down blame: the passages, or what no order of passages can mend."""

from __future__ import annotations

import re

UNKNOWN = 0.6  # of a thumb down without words, or with others than these

# Stems in the four languages; the choices that Teams offers are among them. The first kind that is found decides.
_KINDS = (
    (  # how it is said
        0.0,
        r"\b(?:slow|too (?:long|short)|wordy|verbose|format|tone\b|rude|language|translat|typo|unclear"
        r"|hard to (?:understand|read)|langsam|zu (?:lang|kurz)|sprache|übersetz|unverständlich"
        r"|schwer zu (?:verstehen|lesen)|lent|trop (?:long|court)|langue|traduct|difficile à|lento"
        r"|demasiado (?:larg|cort)|idioma|traduc|cuesta entender)",
    ),
    (  # the passage was right, and misread
        0.2,
        r"\bsource (?:does not|doesn.t) say|quelle sagt das nicht|source ne dit pas|fuente no dice|made.?up|hallucinat",
    ),
    (  # what was cited helps; something else is missing
        0.3,
        r"\b(?:missing|incomplete|not all|only part|fehlt|unvollständig|il manque|incomplet|falta|incompleto)",
    ),
    (  # it rests on the wrong passages
        1.0,
        r"\b(?:wrong|false|incorrect|not true|outdated|out of date|old\b|stale|deprecat|obsolete|irrelevant|unrelated"
        r"|not (?:relevant|about)|off.?topic|does(?: not|n.t) work|falsch|veraltet|nicht relevant|stimmt nicht|faux"
        r"|dépassé|obsol|périm|hors sujet|incorrecto|anticuad|desactualiz|irrelevante)|c'est faux",
    ),
)
_PATTERNS = tuple((weight, re.compile(words, re.IGNORECASE)) for weight, words in _KINDS)


def blame(reason: str | None) -> float:
    """How much a thumb down with these words says against the passages that were cited, 0..1."""
    return next((weight for weight, words in _PATTERNS if words.search(reason or "")), UNKNOWN)
