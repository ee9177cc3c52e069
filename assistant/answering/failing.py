"""The end of a question that could not be answered: one sentence, and a reference for whoever reads the log."""

from __future__ import annotations

from dataclasses import replace

import structlog

from assistant.answering.messages import Answer
from assistant.answering.outcomes import Outcome
from assistant.answering.work import Work, nearest
from assistant.errors import AlmanacError
from assistant.knowledge.filters import FilterError
from assistant.spending.budget import OverBudget
from assistant.strings import say

log = structlog.get_logger()


def failed(work: Work, error: Exception, timeout: float) -> Answer:
    """``timeout``: the seconds that there were for an answer."""
    if isinstance(error, FilterError):
        return work.ended(Outcome.FAILED, error.sentence(work.language))
    if isinstance(error, OverBudget):
        return replace(work.ended(Outcome.OVER_LIMIT, error.sentence(work.language)), nearest=nearest(work.hits))
    reference = work.answer_id.hex[:8]
    expected = isinstance(error, AlmanacError)
    if isinstance(error, TimeoutError):
        text = say("common.timeout", work.language, seconds=f"{timeout:g}", reference=reference)
    elif expected:
        text = say("common.failed_because", work.language, reason=str(error), reference=reference)
    else:
        text = say("common.failed", work.language, reference=reference)
    log.error("answer.failed", reference=reference, error=type(error).__name__, exc_info=None if expected else error)
    return replace(work.ended(Outcome.FAILED, text), nearest=nearest(work.hits), reference=reference)
