"""Several answers to one question, and the one of them that people would prefer.

The candidates are written at the same time, each paid for by the question's purse before it is asked for: what it
cannot pay is not written. Nothing can be shown before all are there, so that this costs the wait for the slowest, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from assistant.answering.messages import NOTHING_USED
from assistant.errors import AlmanacError
from assistant.models.port import Brief, Model, Written
from assistant.preferences.reward import Candidate, Reward

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BestOf:
    """``count`` candidates; 1: the model's own answer, as it comes."""

    count: int
    reward: Reward

    async def write(self, model: Model, brief: Brief) -> AsyncGenerator[str | Written, None]:
        """What ``model.write`` gives, of the best candidate; raises what the first raises where all fail."""
        if self.count < 2:
            async with aclosing(model.write(brief)) as stream:
                async for piece in stream:
                    yield piece
            return
        found = await self._written(model, brief)
        best = self.best(brief, found)
        log.info("best_of", written=len(found), chosen=found.index(best))
        usage = sum((one.usage for one in found), NOTHING_USED)
        if best.supported:
            yield best.text
        yield replace(best, usage=usage)

    def best(self, brief: Brief, found: Sequence[Written]) -> Written:
        """The one with the highest reward; that the passages do not answer is the answer where most say so."""
        answers = [one for one in found if one.supported]
        if 2 * len(answers) < len(found) or not answers:
            return next(one for one in found if not one.supported)
        passages = tuple(hit.text for hit in brief.passages)
        scores = self.reward.scores([Candidate(brief.standalone, one.text, passages) for one in answers])
        return answers[int(scores.argmax())]

    async def _written(self, model: Model, brief: Brief) -> list[Written]:
        """Those that were written, in the order in which they were asked for; all end with whoever waits for them."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_whole(model, replace(brief, variant=n))) for n in range(self.count)]
        ends = [task.result() for task in tasks]
        found = [end for end in ends if isinstance(end, Written)]
        failed = [end for end in ends if not isinstance(end, Written)]
        if not found:
            raise failed[0]
        if failed:
            log.warning("best_of.failed", failed=len(failed), error=str(failed[0]))
        return found


async def _whole(model: Model, brief: Brief) -> Written | AlmanacError:
    """One candidate, or why there is none; anything but a known failure ends them all."""
    try:
        async with aclosing(model.write(brief)) as stream:
            async for piece in stream:
                if isinstance(piece, Written):
                    return piece
    except AlmanacError as error:
        return error
    raise ValueError("The model's stream had no end.")
