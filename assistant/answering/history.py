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


def standalone(question: str, turns: Sequence[Turn], asker: str = "") -> str:
    """What to search for: the question, with the words of an earlier one before it where the question leans on it.

    In a thread of several people that is the asker's own last question, or, for somebody who joins in, the last one.
    """
    if not turns:
        return question
    leans = len(query_terms(question)) < 3 or _LEANING.search(question) is not None
    own = next((turn for turn in reversed(turns) if asker and turn.asker == asker), turns[-1])
    return f"{own.question}\n{question}" if leans else question
