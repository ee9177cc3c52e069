"""What a question has to pass before anything is done for it: its length, its language, its asker's pace, the guard."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.aids import Aids
from assistant.answering.messages import Answer
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work
from assistant.strings import say


def too_long(work: Work, most: int) -> Answer | None:
    length = len(work.question.text)
    if length <= most:
        return None
    return work.ended(
        Outcome.OVER_LIMIT, say("common.too_long", work.language, length=f"{length:,}", limit=f"{most:,}")
    )


async def over_limit(work: Work, aids: Aids, session: AsyncSession) -> Answer | None:
    """The answer to a question in another language than those allowed, or to one too many in a minute."""
    if aids.limits is None or work.question.unprompted:
        return None
    question, language = work.question, work.language
    sentence = aids.limits.wrong_language(work.asked, language)
    sentence = sentence or await aids.limits.too_many(session, question.asker, question.platform, language)
    return work.ended(Outcome.OVER_LIMIT, sentence) if sentence else None


async def guarded(work: Work, aids: Aids) -> Answer | None:
    """The answer to what reads like an attack. What is only suspicious goes on, and may change nothing by a tool.

    A format is read by the model, too: what it says in sentences is part of the question.
    """
    if aids.guards is None:
        return None
    with work.watch.stage("guard"):
        form = work.question.format
        verdicts = await aids.guards.questions([work.asked, *([form.words] if form is not None and form.words else [])])
        verdict = max(verdicts, key=lambda verdict: ("allow", "flag", "block").index(verdict.verdict))
    work.flagged = verdict.found
    work.watch.guarded("question", verdict.verdict)
    if verdict.verdict != "block":
        return None
    if work.question.unprompted:  # nobody asked us
        return work.not_found()
    return work.ended(Outcome.REFUSED, say("guardrails.blocked", work.language))
