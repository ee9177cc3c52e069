"""What is said of documents that somebody may not read: how many might have answered, and nothing more."""

from __future__ import annotations

from dataclasses import replace

from assistant.answering.confidence import SURE
from assistant.answering.messages import Answer, Question
from assistant.answering.outcomes import Outcome
from assistant.database.hidden import SEVERAL
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.filters import Filters
from assistant.strings import say


def worth_looking(question: Question, answer: Answer, filters: Filters) -> bool:
    """Whether the answer may be wanting for what is hidden, and those who read it may know so.

    People from outside are told nothing. Neither is whoever filters: titles, authors and dates could be guessed at one
    by one, with the number as the oracle.
    """
    if question.unprompted or filters or EVERYONE not in question.audience.principals:
        return False
    unsure = answer.confidence is not None and answer.confidence < SURE
    return answer.outcome is Outcome.NOT_IN_DOCUMENTS or (answer.outcome is Outcome.ANSWERED and unsure)


def of_all_who_ask(question: Question) -> Audience:
    """What is hidden is hidden from the asker, too."""
    own = question.asker_audience
    return Audience(question.audience.principals | own.principals) if own else question.audience


def told(answer: Answer, count: int) -> Answer:
    """The answer with the number of hidden documents said, where there are some."""
    if count <= 0:
        return answer
    key = "hidden_one" if count == 1 else "hidden_several" if count >= SEVERAL else "hidden_many"
    sentence = say(f"common.{key}", answer.language, count=count)
    if answer.outcome is Outcome.ANSWERED:
        return replace(answer, text=f"{answer.text}\n\n*{sentence}*")
    return replace(answer, outcome=Outcome.HIDDEN_BY_PERMISSIONS, text=f"{answer.text} {sentence}")
