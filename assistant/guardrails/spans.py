"""Where something stands in a text that must not leave it: found spans, without overlaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """``text[start:end]`` is of ``kind``, which is a word for placeholders: EMAIL, GITHUB_TOKEN."""

    kind: str
    start: int
    end: int
    value: str


def apart(spans: Iterable[Span]) -> list[Span]:
    """The spans in their order; of two that overlap, the longer one, then the first that was given."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start - span.end):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)
