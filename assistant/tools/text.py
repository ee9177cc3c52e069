"""Text that comes from outside and goes to the model: descriptions and answers are untrusted, whoever sent them."""

from __future__ import annotations

import re
import unicodedata

CHARS_PER_TOKEN = 3.2  # of JSON and prose under GPT's tokenizers; an estimate on the careful side
_SPACES = re.compile(r"[ \t\f\v]{2,}")
_LINES = re.compile(r"\n\s*\n\s*\n+")


def clean(text: object, limit: int | None = None, lines: bool = False) -> str:
    """Without control characters and without what is there but not seen (format characters, tags, directions).

    ``limit``: characters, at the end of a word. ``lines``: keep line breaks.
    """
    kept = str(text)
    if not kept.isprintable():
        kept = kept.translate({ord(character): None for character in set(kept) if not _is_seen(character)})
    kept = _LINES.sub("\n\n", _SPACES.sub(" ", kept)).strip() if lines else " ".join(kept.split())
    return kept if limit is None or len(kept) <= limit else cut(kept, limit)


def plain(value: object) -> str:
    """Text or a number of a document as text; "" for anything else: lists may hold themselves a million times."""
    return str(value) if isinstance(value, str | int | float) else ""


def _is_seen(character: str) -> bool:
    """Whether it is no control, format, private, surrogate or unassigned character; line breaks and tabs are seen."""
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs", "Cn")


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ending in an ellipsis, at a space where one is near."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ")
    return (head[:space] if space > limit * 0.8 else head).rstrip() + "…"


def tokens(text: str) -> int:
    """About so many tokens."""
    return int(len(text) / CHARS_PER_TOKEN) + 1


def characters(tokens: int) -> int:
    """About so many characters fit into the tokens."""
    return int(tokens * CHARS_PER_TOKEN)
