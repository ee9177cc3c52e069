"""An answer while it is being made: a native stream where Teams has one, typing and edits elsewhere.

A stream lives two minutes at most and takes one request a second; each of its texts extends the last. It is closed
before its time is over, and the answer goes on by edits of the same message. What Teams refuses on the way only costs
the view of it: the answer itself is always put by ``finish``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from assistant.answering.messages import Answer, AnswerEvent, Delta, Done, Progress
from assistant.strings import say
from bot.inbox import Claim
from bot.teams import render
from bot.teams.markdown import Growing
from bot.teams.outbox import TOO_MUCH, Outbox
from bot.teams.port import Chunk, Connector, Message, Refused, Unreachable

log = structlog.get_logger()

BUSY = frozenset({408, 412, 429, 500, 502, 503, 504})
MAX_STATUS = 1_000  # characters of an informative update
MAX_DRAFT = 20_000  # characters of an unfinished answer that are shown


@dataclass(frozen=True, slots=True)
class Tempo:
    """Seconds between the steps of an answer that is being made."""

    update: float = 1.6  # between the texts of a stream
    edit: float = 2.0  # between edits of a message
    gap: float = 1.05  # between any two requests of a stream
    life: float = 110.0  # of a stream, before we close it
    still: float = 8.0  # without news, until a sign of life


TEMPO = Tempo()

Mode = Literal["quiet", "stream", "edit", "resumed", "stopped"]


class Draft:
    """How far an answer is: its stage, and the text that stands already."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._growing = Growing(language, MAX_DRAFT)
        self._status = say("teams.looking", language)
        self._since = time.monotonic()
        self.answer: Answer | None = None

    def take(self, event: AnswerEvent) -> None:
        if isinstance(event, Delta):
            self._growing.feed(event.text)
        elif isinstance(event, Progress):
            self._since = time.monotonic()
            if event.stage == "writing" and event.documents:
                key = "teams.found" if event.documents > 1 else "teams.found_one"
                self._status = say(key, self._language, n=event.documents)
            elif event.stage == "calling":
                self._status = say("tools.calling", self._language, tool=event.tool)
        elif isinstance(event, Done):
            self.answer = event.answer

    @property
    def text(self) -> str:
        return self._growing.text

    def status(self, still: float) -> str:
        """The stage in words; with its seconds once it lasts longer than usual."""
        waited = time.monotonic() - self._since
        if waited < still:
            return self._status
        steps = round(waited // still * still)
        return f"{self._status} {say('teams.still', self._language, seconds=steps)}"[:MAX_STATUS]


class Live:
    """Shows one answer in the making in ``outbox``. ``streams``: the chats in which this process streams just now."""

    def __init__(
        self, connector: Connector, outbox: Outbox, claim: Claim, streams: set[str], tempo: Tempo,
        *, personal: bool, quiet: bool = False, again: bool = False,
    ) -> None:  # fmt: skip
        self._connector = connector
        self._outbox = outbox
        self._claim = claim
        self._streams = streams
        self._tempo = tempo
        self._personal = personal
        self._again = again  # an answer is there already, and this one takes its place
        self._mode: Mode = "quiet" if quiet else "edit"
        self._streaming = False  # whether the chat's stream is ours
        self._sequence = 1  # of the last step of the stream that was sent
        self._begun = self._last = float("-inf")
        self._shown = ""
        self._text = ""  # of the answer, as far as it was shown

    async def watch(self, events: AsyncIterator[AnswerEvent]) -> Answer:
        """The answer, shown while it is made."""
        draft = Draft(self._outbox.language)
        pump = asyncio.create_task(_pump(events, draft), name="teams-answer")
        try:
            await self._begin()
            while not pump.done():
                await asyncio.wait({pump}, timeout=self._pause())
                if not pump.done():
                    await self._show(draft)
            return pump.result()
        finally:
            if not pump.done():
                pump.cancel()
                await asyncio.wait({pump})

    async def finish(self, messages: Sequence[Message]) -> None:
        """Put the answer where it belongs; may be repeated."""
        if self._mode in {"stream", "resumed"} and self._outbox.stream_id:
            await asyncio.sleep(max(0.0, self._last + self._tempo.gap - time.monotonic()))
            await self._close(messages[0])
        elif self._mode == "stopped" and self._text and await self._stays(messages[0]):
            return
        await self._outbox.all(messages)

    def release(self) -> None:
        """Let the next question of this chat stream."""
        if self._streaming:
            self._streams.discard(self._outbox.place.conversation)

    async def _begin(self) -> None:
        if self._mode == "quiet":
            return
        if self._outbox.begun:  # by an earlier attempt
            changed = self._again and not self._outbox.stream_id and not self._outbox.settled
            self._mode = "edit" if changed else "resumed"  # the old answer gives way; an attempt's is left alone
            if self._outbox.stopped:
                self._mode, self._text = "stopped", say("teams.more", self._outbox.language)
            return
        place = self._outbox.place
        if self._personal and place.conversation not in self._streams:
            self._streams.add(place.conversation)
            self._streaming = True
            if await self._stream_begins():
                return
            self.release()
            self._streaming = False
        await self._typing()
        await self._outbox.reserve(0, say("teams.looking", self._outbox.language))
        self._last = time.monotonic()

    async def _stream_begins(self) -> bool:
        self._shown = say("teams.looking", self._outbox.language)
        try:
            await self._outbox.stream(self._shown)
        except Refused as error:
            if error.status in BUSY:
                raise
            log.info("teams.stream_refused", status=error.status, code=error.code)
            return False
        self._mode = "stream"
        self._begun = self._last = time.monotonic()
        return True

    async def _typing(self) -> None:
        try:
            await self._connector.typing(self._outbox.place)
        except (Refused, Unreachable) as error:  # a courtesy, not worth a second attempt
            log.info("teams.no_typing", reason=str(error))

    def _pause(self) -> float | None:
        if self._mode not in {"stream", "edit"}:
            return None
        step = self._tempo.update if self._mode == "stream" else self._tempo.edit
        return max(0.01, self._last + step - time.monotonic())

    async def _show(self, draft: Draft) -> None:
        if self._mode == "stream" and time.monotonic() - self._begun > self._tempo.life:
            await self._cut_over(draft)
            return
        text = draft.text
        show = text or draft.status(self._tempo.still)
        self._last = time.monotonic()
        if show == self._shown:
            return
        try:
            if self._mode == "stream":
                kind: Literal["streaming", "informative"] = "streaming" if text else "informative"
                chunk = Chunk(kind, self._sequence + 1, self._outbox.stream_id)
                await self._outbox.chunk(Message(show), chunk)
                self._sequence += 1
            else:
                await self._outbox.edit(Message(f"{show}\n\n…" if text else show))
        except Refused as error:
            self._refused(error)
            if self._mode == "stopped" and self._text:
                await self._outbox.stop()
        except Unreachable as error:  # the next step has the same number: if this one came, that one is dropped
            log.info("teams.step_lost", reason=str(error))
        else:
            self._shown, self._text = show, text or self._text
        finally:
            self._last = time.monotonic()

    def _refused(self, error: Refused) -> None:
        """A step was refused: what it means for the steps to come."""
        reason = error.reason.lower()
        log.info("teams.step_refused", status=error.status, code=error.code)
        if error.status in BUSY:  # its number is used again
            return
        if self._mode == "stream" and "cancel" in reason:
            self._mode = "stopped"
            self._claim.stop.set()
        elif self._mode == "stream" and "exceeded" in reason:
            self._mode = "edit"
        else:  # nothing more is shown before the answer itself
            self._mode = "resumed"

    async def _cut_over(self, draft: Draft) -> None:
        """Close the stream with what there is, and go on by edits of the same message."""
        show = draft.text or draft.status(self._tempo.still)
        self._last = time.monotonic()
        try:
            await self._outbox.chunk(Message(f"{show}\n\n…"), Chunk("final", None, self._outbox.stream_id))
        except Refused as error:
            self._refused(error)
            if self._mode != "stream":
                return
        except Unreachable:
            pass
        self._mode, self._shown = "edit", show

    async def _close(self, message: Message) -> None:
        """End the stream with the answer. Where Teams ended it before, the message is there to be updated."""
        chunk = Chunk("final", None, self._outbox.stream_id)
        try:
            await self._outbox.chunk(message, chunk)
        except Refused as error:
            if error.status in BUSY:
                raise
            if error.status not in TOO_MUCH or "stream" in error.reason.lower():
                log.info("teams.stream_was_closed", status=error.status, code=error.code)
                return
            await self._close_reduced(message, chunk)
        else:
            await self._outbox.sealed()

    async def _close_reduced(self, message: Message, chunk: Chunk) -> None:
        log.warning("teams.reduced")
        try:
            await asyncio.sleep(self._tempo.gap)
            await self._outbox.chunk(render.reduced(message), chunk)
        except Refused as error:
            if error.status in BUSY:
                raise
        else:
            await self._outbox.sealed()

    async def _stays(self, message: Message) -> bool:
        """After Stop: whether what was shown stays as it stands, because Teams lets nothing be added to it."""
        try:
            await self._outbox.edit(message)
        except Refused as error:
            if error.status in BUSY:
                raise
        await self._outbox.sealed()
        return True


async def _pump(events: AsyncIterator[AnswerEvent], draft: Draft) -> Answer:
    async for event in events:
        draft.take(event)
        if draft.answer is not None:
            return draft.answer
    raise RuntimeError("the assistant ended without an answer")
