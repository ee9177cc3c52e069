"""JSON Lines as evaluations read them, and an even part of what was read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from assistant.errors import AlmanacError

T = TypeVar("T")


def objects(path: Path, bad: type[AlmanacError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place, for an error's sentence, and its object; raises ``bad`` with one sentence."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", _object(f"{path}, line {number}", line, bad)
    except OSError as error:
        raise bad(f"{path} cannot be read ({error.strerror or type(error).__name__}).") from None


def _object(place: str, line: bytes, bad: type[AlmanacError]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:  # also what is not UTF-8
        raise bad(f"{place}: this is not JSON ({str(error).partition(':')[0]}).") from None
    if not isinstance(row, dict):
        raise bad(f"{place}: this is not a JSON object.")
    return row


def evenly(found: Sequence[T], most: int | None) -> Sequence[T]:
    """``most`` of them, evenly spread over all."""
    if most is None or most >= len(found):
        return found
    return [found[place * len(found) // most] for place in range(most)]
