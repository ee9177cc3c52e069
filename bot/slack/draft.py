"""An answer on its way: what the model has written so far, as the messages that it will become."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from assistant.answering.messages import Answer, AnswerEvent, Delta, Done, Progress
from bot.slack.clean import Cleaner
from bot.slack.pages import Pager


class Draft:
    """Reads a stream in a task of its own, so that a slow Slack holds up no model."""

    def __init__(self, stream: AsyncIterator[AnswerEvent]) -> None:
        self.stage = Progress("searching")
        self.answer: Answer | None = None
        self.changed = asyncio.Event()
        self.since: float | None = None  # when the first words came, by the loop's clock
        self._cleaner = Cleaner()
        self._pager = Pager()
        self._task = asyncio.create_task(self._read(stream), name="slack-draft")
        self._task.add_done_callback(lambda _: self.changed.set())

    @property
    def over(self) -> bool:
        return self._task.done()

    @property
    def pages(self) -> list[str]:
        """The messages so far; all but the last are whole."""
        return self._pager.pages

    async def wait(self, seconds: float) -> None:
        """Until something has changed, and no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        self.changed.clear()

    async def result(self) -> Answer:
        """The answer, once the stream is over; raises what the stream raised."""
        await asyncio.wait([self._task])
        self._task.result()
        if self.answer is None:
            raise RuntimeError("the stream ended without an answer")
        return self.answer

    async def close(self) -> None:
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # looked at, so that nobody is told that it was not

    async def _read(self, stream: AsyncIterator[AnswerEvent]) -> None:
        async for event in stream:
            if isinstance(event, Done):
                self.answer = event.answer
                return
            if isinstance(event, Progress):
                self.stage = event
            elif isinstance(event, Delta):
                if self.since is None:
                    self.since = asyncio.get_running_loop().time()
                self._pager.feed(self._cleaner.feed(event.text))
            self.changed.set()
