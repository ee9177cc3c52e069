"""Names of functions as models take them: letters, digits, _ and -, at most 64 of them, each only once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

LONGEST = 64


def function_name(words: str) -> str:
    """``words`` as a name; one that would be too long keeps its beginning and a hash of the whole."""
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", words).strip("_") or "tool"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}_{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def unique(name: str, source: str, taken: Collection[str]) -> str:
    """The name, with its source's before it where another tool is called the same; a number where even that is."""
    for candidate in (name, function_name(f"{source}_{name}")):
        if candidate not in taken:
            return candidate
    number = 2
    while (candidate := function_name(f"{source}_{name}_{number}")) in taken:
        number += 1
    return candidate


def title(words: str) -> str:
    """``restartService`` or ``restart_service`` as people write it: "Restart service"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./{}]+", " ", words)
    text = " ".join(spaced.split())
    return text[:1].upper() + text[1:].lower() if text else words
