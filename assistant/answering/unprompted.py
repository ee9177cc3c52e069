"""Whether a message in a channel asks something at all: a cheap look, before anything is stored or searched."""

from __future__ import annotations

import re

LEAST_WORDS, MOST_CHARACTERS = 3, 600

_QUESTION_WORDS = (
    # English
    "how|what|when|where|who|whom|whose|which|why|can|could|do|does|did|is|are|was|should|has|have|will|would|anyone|"
    "anybody|somebody|"
    # German
    "wie|was|wann|wo|wer|wem|wen|welche[rsnm]?|warum|wieso|weshalb|kann|können|gibt|ist|sind|hat|weiß|weiss|"
    # French
    "comment|quand|où|qui|quel(?:le)?s?|pourquoi|combien|est-ce|peut|quelqu'un|"
    # Spanish
    "cómo|como|qué|que|cuándo|dónde|quién|quiénes|cuál(?:es)?|por qué|cuánto|cuántos|puede|alguien"
)
_OPENING = re.compile(
    rf"^(?:(?:hi|hey|hello|hallo|moin|bonjour|salut|hola)\b[^.?!\n]{{0,40}}[,.!:\n–-]\s*)?(?:{_QUESTION_WORDS})\b", re.I
)
_MARK = re.compile(r"[?？](?:\s|$|[\"')\]])")


def asks_something(text: str) -> bool:
    """A question mark at a word's end, or a question word at the beginning, in a message of a few words or more."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS or len(text.split()) < LEAST_WORDS or text.startswith(("```", ">")):
        return False
    prose = re.sub(r"https?://\S+|`[^`]*`", " ", text)
    return bool(_MARK.search(prose)) or ("\n" not in text and bool(_OPENING.match(prose)))
