"""The line in a thread that says what is being done for a question, until there is something to read."""

from __future__ import annotations

import asyncio

from assistant.answering.messages import Progress
from assistant.strings import say
from bot.inbox import TryLater
from bot.slack.draft import Draft
from bot.slack.errors import Refused, Unreachable
from bot.slack.events import Message
from bot.slack.workplace import Workplace

BUSY_AFTER = 0.7  # seconds; an answer that is there sooner needs no sign
BUSY_AGAIN = 30.0  # the sign is put up anew, with the time: Slack takes it down after two minutes
PLACE_AFTER = 4.0  # where no sign can be put up, a message says that the work goes on


class Sign:
    """Put up in a task of its own, since it must delay nothing. Slack takes it down with the reply."""

    def __init__(self, place: Workplace, message: Message, draft: Draft, language: str) -> None:
        self.language = language
        self._place = place
        self._message = message
        self._draft = draft
        self._began = asyncio.get_running_loop().time()
        self._refused = False
        self._task = asyncio.create_task(self._keep(), name="slack-busy")

    def needs_place(self) -> bool:
        """Whether people have waited for long and no sign told them why."""
        return self._refused and self._waited() > PLACE_AFTER

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def _waited(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def _keep(self) -> None:
        await asyncio.sleep(BUSY_AFTER)
        stage: Progress | None = None
        shown = 0.0
        while not self._refused:
            if self._draft.stage != stage or self._waited() - shown > BUSY_AGAIN:
                stage, shown = self._draft.stage, self._waited()
                await self._put_up(stage)
            await asyncio.sleep(1.0)

    async def _put_up(self, stage: Progress) -> None:
        if not self._place.api.free("assistant.threads.setStatus"):
            return
        try:
            await self._place.api.look_busy(self._message.channel, self._message.thread, self._text(stage))
        except Refused:
            self._refused = True
        except (Unreachable, TryLater):
            return  # a sign, not an answer

    def _text(self, stage: Progress) -> str:
        waited = self._waited()
        if waited > BUSY_AGAIN:
            return say("slack.still", self.language, seconds=round(waited))
        if stage.stage == "writing":
            return say("slack.writing", self.language, documents=stage.documents)
        if stage.stage == "calling":
            return say("slack.calling", self.language, tool=stage.tool)
        return say("slack.looking", self.language)
