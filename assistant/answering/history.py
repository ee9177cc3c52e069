"""Follow-ups: a question that leans on the turn before is searched together with it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assistant.answering.messages import Turn
from assistant.knowledge.lexical import query_terms

TURNS = 4

_LEANING = re.compile(
    r"^\s*(and|but|so|also|then|what about|how about|why not|why\??$|ok(ay)?\b)"
    r"|\b(it|its|that|this|they|them|those|these|one|ones|there|he|she|same|instead|again)\b",
    re.IGNORECASE,
)


def standalone(question: str, turns: Sequence[Turn]) -> str:
    """What to search for: the question, with the last one's words before it where the question leans on it."""
    if not turns:
        return question
    leans = len(query_terms(question)) < 3 or _LEANING.search(question) is not None
    return f"{turns[-1].question}\n{question}" if leans else question
