"""Secrets and personal data out of a text, each value replaced by one placeholder that can be turned back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from assistant.guardrails import pii, secrets
from assistant.guardrails.spans import Span, apart
from assistant.guardrails.verdicts import Redaction

What = Literal["secrets", "pii"]


def find(text: str, what: frozenset[What]) -> list[Span]:
    """What ``what`` names, in the order of the text."""
    found = secrets.find(text) if "secrets" in what else []
    return apart([*found, *pii.find(text)]) if "pii" in what else found


def redact(texts: Sequence[str], what: frozenset[What]) -> Redaction:
    """The texts with placeholders. The same value has the same one in all of them, numbered by first appearance."""
    names: dict[tuple[str, str], str] = {}
    counts: dict[str, int] = {}
    given = "\n".join(texts)
    changed = []
    for text in texts:
        parts, position = [], 0
        for span in find(text, what):
            name = names.get((span.kind, span.value))
            while name is None:
                counts[span.kind] = counts.get(span.kind, 0) + 1
                name = f"<{span.kind}_{counts[span.kind]}>"
                if name in given:  # somebody wrote the placeholder: it stands for nothing
                    name = None
            names[span.kind, span.value] = name
            parts += [text[position : span.start], name]
            position = span.end
        changed.append("".join([*parts, text[position:]]) if parts else text)
    return Redaction(tuple(changed), {name: value for (_, value), name in names.items()})
