"""Follow-ups: what a question takes along from the conversation before it.

Three quarters of the questions in a conversation can be understood alone, and still say nothing of what they are about
("how do I set it up?", "and the price?"). So the words of the asker's earlier questions, and of the last answer, are
searched for with every one of them, at a weight so small that they decide only where the question's own words leave
it open: a new subject is not drawn back to the old one. `benchmarks.md` has what this is worth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from assistant.answering.messages import Turn
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.query import Carried

TURNS = 4

QUESTION = (0.1, 0.2)  # what the words, and the vector, of the question before count
FADING = 0.7  # of each question before that
FIRST = 0.5  # of what opened the conversation, beside the last question
ANSWER = (0.05, 0.2)  # of the last answer
ANSWER_WORDS = 60  # from its beginning
ALONE = 0.25  # of the vectors' weights, for a question that can be understood alone: it may be a new subject
EMPTY = (1.0, 1.0)  # of the question before one that has no word of its own ("why not?")
RECENT = 2

_LEANING = re.compile(
    r"^\s*(and|but|so|also|then|what about|how about|why not|why\??$|ok(ay)?\b)"
    r"|\b(it|its|that|this|they|them|those|these|one|ones|there|he|she|same|instead|again)\b",
    re.IGNORECASE,
)
_CITED = re.compile(r"\[\d+\]|[*`#|]")


def leans(question: str) -> bool:
    """Whether a question is plainly not understood alone."""
    return len(query_terms(question)) < 3 or _LEANING.search(question) is not None


def standalone(question: str, turns: Sequence[Turn], asker: str = "") -> str:
    """What is asked: the question, with an earlier one before it where the question leans on it.

    In a thread of several people that is the asker's own last question, or, for somebody who joins in, the last one.
    """
    if not turns or not leans(question):
        return question
    return f"{_own(turns, asker)[-1].question}\n{question}"


def carried(question: str, turns: Sequence[Turn], asker: str = "") -> tuple[Carried, ...]:
    """What is searched for beside the question, with what it counts; nothing at the start of a conversation."""
    if not turns:
        return ()
    own = _own(turns, asker)
    words, vector = QUESTION if query_terms(question) else EMPTY
    near = 1.0 if leans(question) else ALONE
    vector *= near
    parts = [
        Carried(turn.question, words * FADING**age, vector * FADING**age)
        for age, turn in enumerate(reversed(own[-RECENT:]))
    ]
    if len(own) > RECENT:
        parts.append(Carried(own[0].question, words * FIRST, vector * FIRST))
    answer = " ".join(_CITED.sub(" ", own[-1].answer).split()[:ANSWER_WORDS])
    return (*parts, Carried(answer, ANSWER[0], near * ANSWER[1])) if answer else tuple(parts)


def _own(turns: Sequence[Turn], asker: str) -> Sequence[Turn]:
    """The asker's own turns; everybody's, for somebody who joins in."""
    return [turn for turn in turns if asker and turn.asker == asker] or turns
