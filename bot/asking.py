"""What the terminal reads for a question beside its words."""

from __future__ import annotations

import json
from pathlib import Path

from assistant.errors import AlmanacError
from assistant.guardrails.formats import Format

BYTES = 1 << 20


def format_file(path: Path) -> Format:
    """The JSON schema of a file; raises ``AlmanacError`` with one sentence."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES)
    except OSError as error:
        raise AlmanacError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        return Format(json.loads(raw))
    except (ValueError, RecursionError):
        raise AlmanacError(f"{path} is no JSON.") from None
