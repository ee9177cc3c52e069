"""The messages of one answer while it is written, and their end.

A message is streamed where Slack lets us, else posted and updated, else only posted when the answer is whole. What
Slack shows is remembered as far as it is certain; at the end each message is completed by its missing tail, or, where
anything is uncertain, stopped and replaced as a whole. So whatever happened on the way, the last state is the answer.

A stream lives about 306 s whatever is appended to it; at 240 s it is ended and its message goes on by updates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from bot.inbox import Claim
from bot.slack import errors
from bot.slack.api import Api
from bot.slack.errors import Limited, Refused, Unreachable
from bot.slack.events import Message
from bot.slack.render import Part, plain_part

log = structlog.get_logger()

STREAM_SECONDS = 240.0
FLUSH_CHARS = 256
FLUSH_SECONDS = 0.8
FIRST_SECONDS, FIRST_CHARS = 0.25, 256  # an answer that is whole before either is posted at once
UPDATE_SECONDS = 3.0
POST_AFTER = 3.0  # where nothing can be streamed: seconds of writing until a first part is posted
NO_STREAM_SECONDS = 600.0  # after which an app that may not stream is tried again


@dataclass(slots=True)
class Shown:
    """One message in Slack. ``text`` is what it shows; where that is not ``certain``, it is replaced at the end."""

    ts: str
    text: str = ""
    open: bool = False  # it is being streamed
    certain: bool = True
    final: bool = False
    started: float = 0.0
    flushed: float = 0.0


@dataclass(slots=True)
class Streaming:
    """What a process knows of streaming: until when it is not to be tried, and which messages are being written."""

    refused_until: float = 0.0
    messages: set[tuple[str, str]] = field(default_factory=set)


class Writer:
    """Shows the answer to one message. ``shown`` holds its messages in order."""

    def __init__(
        self, api: Api, message: Message, claim: Claim, streaming: Streaming, event_id: str, reply: Mapping[str, Any]
    ) -> None:
        self._api = api
        self._message = message
        self._claim = claim
        self._streaming = streaming
        self._event_id = event_id
        self.shown = [Shown(ts, open=True, certain=False) for ts in reply.get("parts") or ()]
        self.uncertain = bool(reply.get("starting"))  # whether a message may be there of which we do not know
        self.live = True  # whether the draft is shown at all
        self._streams = True
        for item in self.shown:
            streaming.messages.add((message.channel, item.ts))

    # while the answer is written

    async def flush(self, pages: Sequence[str], writing: float) -> None:
        """Bring what is shown nearer to the draft, as far as budgets allow; ``writing``: seconds since its first word.

        Nothing is raised that a whole answer at the end would not mend.
        """
        if not self.live:
            return
        try:
            for number, page in enumerate(pages):
                whole = number < len(pages) - 1
                text = page if whole else _up_to_a_word(page)
                if not text:
                    return
                if number >= len(self.shown) and not await self._begin(text, writing, first=number == 0):
                    return
                await self._extend(self.shown[number], text, whole, number)
        except Limited:
            return
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.code in errors.GONE:
                raise
            log.warning("slack.live_ended", event_id=self._event_id, reason=str(error))
            self.live = False

    async def hold_place(self, text: str) -> None:
        """Say that the work goes on, in the message that will be the answer."""
        if not self.shown and self.live and self._api.free("chat.postMessage", self._message.channel):
            await self._post_draft(plain_part(text))
            self.shown[0].text, self.shown[0].certain = "", False

    async def _begin(self, text: str, writing: float, first: bool) -> bool:
        """Start the next message where that is due and allowed."""
        now = asyncio.get_running_loop().time()
        if first and writing < FIRST_SECONDS and len(text) < FIRST_CHARS:
            return False
        may_stream = self._streams and now >= self._streaming.refused_until
        if may_stream and await self._api.take("chat.startStream"):
            return await self._start(text)
        if writing >= POST_AFTER and self._api.free("chat.postMessage", self._message.channel):
            await self._post_draft(plain_part(text))
            self.shown[-1].text = text
            return True
        return False

    async def _start(self, text: str) -> bool:
        message = self._message
        await self.remember(starting=True)
        self.uncertain = True
        try:
            ts = await self._api.start_stream(
                message.channel, message.thread, message.team, message.user, text, self._claim.check
            )
        except Limited:
            self._streams = self.uncertain = False
            return False
        except Refused as error:
            if error.code in errors.GONE:
                raise
            self._streams = self.uncertain = False
            if error.code in errors.NO_STREAM:
                self._streaming.refused_until = asyncio.get_running_loop().time() + NO_STREAM_SECONDS
            log.info("slack.no_stream", channel=message.channel, code=error.code)
            return False
        await self._keep(Shown(ts, text, open=True))
        return True

    async def _post_draft(self, part: Part) -> None:
        self.uncertain = True
        ts = await self._api.post(
            self._message.channel, self._message.thread, part, self._meta(len(self.shown), draft=True),
            self._claim.check,
        )  # fmt: skip
        await self._keep(Shown(ts))

    async def _keep(self, shown: Shown) -> None:
        shown.started = shown.flushed = asyncio.get_running_loop().time()
        self._streaming.messages.add((self._message.channel, shown.ts))
        self.shown.append(shown)
        self.uncertain = False
        await self.remember()

    async def _extend(self, shown: Shown, text: str, whole: bool, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if shown.open and now - shown.started > STREAM_SECONDS:
            await self._close(shown, text, number)
        missing = len(text) - len(shown.text)
        if missing > 0 or not shown.certain:
            waited = now - shown.flushed
            if shown.open and (whole or missing >= FLUSH_CHARS or waited >= FLUSH_SECONDS):
                await self._append(shown, text, number)
            elif not shown.open and waited >= UPDATE_SECONDS and self._api.free("chat.update"):
                meta = self._meta(number, draft=True)
                await self._api.update(self._message.channel, shown.ts, plain_part(text), meta, self._claim.check)
                shown.text, shown.flushed, shown.certain = text, now, True
        if whole and shown.open and shown.text == text:
            await self._close(shown, text, number)

    async def _append(self, shown: Shown, text: str, number: int) -> None:
        if not self._api.free("chat.appendStream"):
            return
        piece = text[len(shown.text) :]
        try:
            await self._api.append_stream(self._message.channel, shown.ts, piece, self._claim.check)
        except Unreachable:
            shown.certain = False
            raise
        except Refused as error:
            await self._ended(shown, error)
            return
        shown.text, shown.flushed = text, asyncio.get_running_loop().time()

    async def _close(self, shown: Shown, text: str, number: int) -> None:
        """End a stream before the answer has ended; its message can be updated from then on."""
        piece = text[len(shown.text) :]
        try:
            meta = self._meta(number, draft=True)
            await self._api.stop_stream(self._message.channel, shown.ts, piece, (), meta, self._claim.check)
        except Unreachable:
            shown.certain = False
            raise
        except Refused as error:
            await self._ended(shown, error)
            return
        shown.text, shown.open = text, False

    async def _ended(self, shown: Shown, error: Refused) -> None:
        """A stream that takes no more: Slack ended it, or the asker did."""
        if error.code == errors.STOPPED:
            self._claim.stop.set()
            shown.open, self.live = False, False
        elif error.code == errors.OVER:
            shown.open = False
        elif error.code in errors.LOST:
            shown.certain = self.live = False
        else:
            shown.certain = False
            raise error

    # when it is whole

    async def finish(self, parts: Sequence[Part], answer_id: str) -> list[str]:
        """Show the answer's messages, whole; returns their ids."""
        for number, part in enumerate(parts):
            meta = {**self._meta(number), "answer_id": answer_id}
            if number >= len(self.shown):
                self.shown.append(Shown(await self._send(part, meta), final=True))
                await self.remember()
            elif not self.shown[number].final:
                await self._complete(number, part, meta)
        for extra in self.shown[len(parts) :]:
            await self._remove(extra)
        del self.shown[len(parts) :]
        return [item.ts for item in self.shown]

    async def _complete(self, number: int, part: Part, meta: Mapping[str, Any]) -> None:
        shown = self.shown[number]
        if shown.open and shown.certain and part.markdown and part.markdown.startswith(shown.text):
            tail = part.markdown[len(shown.text) :]
            try:
                await self._api.stop_stream(self._message.channel, shown.ts, tail, part.below, meta, self._claim.check)
            except Refused as error:
                log.warning("slack.stream_not_stopped", event_id=self._event_id, part=number, code=error.code)
                shown.open = error.code not in (errors.OVER, errors.STOPPED)
            else:
                shown.open, shown.text, shown.final = False, part.markdown, True
                return
        await self._replace(number, part, meta)

    async def _replace(self, number: int, part: Part, meta: Mapping[str, Any]) -> None:
        """The whole message anew, in place of what it shows; where it is gone, a new one."""
        shown = self.shown[number]
        await self._stop(shown)
        try:
            await self._update(shown, part, meta)
        except Refused as error:
            if error.code not in errors.LOST:
                raise
            log.warning("slack.message_gone", event_id=self._event_id, part=number, code=error.code)
            shown.ts = await self._send(part, meta)
            await self.remember()
        shown.open, shown.final = False, True

    async def _update(self, shown: Shown, part: Part, meta: Mapping[str, Any]) -> None:
        channel, check = self._message.channel, self._claim.check
        for attempt in range(3):
            try:
                await self._api.update(channel, shown.ts, part, meta, check)
            except Refused as error:
                if error.code in errors.TOO_MUCH:
                    log.warning("slack.blocks_refused", event_id=self._event_id, code=error.code)
                    await self._api.update(channel, shown.ts, part, meta, check, plain=True)
                elif error.code in errors.STILL_STREAMING and attempt < 2:
                    shown.open = True
                    await self._stop(shown)
                    continue
                else:
                    raise
            return

    async def _stop(self, shown: Shown) -> None:
        """End the stream if it is one; that it has ended already is well."""
        if not shown.open:
            return
        try:
            await self._api.stop_stream(self._message.channel, shown.ts, check=self._claim.check)
        except Refused as error:
            log.info("slack.stream_over", event_id=self._event_id, code=error.code)
        shown.open = False

    async def _send(self, part: Part, meta: Mapping[str, Any]) -> str:
        channel, thread, check = self._message.channel, self._message.thread, self._claim.check
        try:
            return await self._api.post(channel, thread, part, meta, check)
        except Refused as error:
            if error.code not in errors.TOO_MUCH:
                raise
            log.warning("slack.blocks_refused", event_id=self._event_id, code=error.code)
        return await self._api.post(channel, thread, part, meta, check, plain=True)

    async def _remove(self, shown: Shown) -> None:
        """Take away a message that the answer does not need after all."""
        await self._stop(shown)
        try:
            await self._api.delete(self._message.channel, shown.ts, self._claim.check)
        except Refused as error:
            log.warning("slack.not_deleted", event_id=self._event_id, code=error.code)
        self._streaming.messages.discard((self._message.channel, shown.ts))

    def add(self, messages: Iterable[str]) -> None:
        """Take over messages that were begun and not ended; nobody else does from here on."""
        for ts in messages:
            self.shown.append(Shown(ts, open=True, certain=False))
            self._streaming.messages.add((self._message.channel, ts))

    async def remove_all(self) -> None:
        for item in self.shown:
            await self._remove(item)
        self.shown.clear()

    async def remember(self, starting: bool = False) -> None:
        """Keep the ids of what was sent; ``starting``: a message may be there whose id is not known yet."""
        reply: dict[str, Any] = {"channel": self._message.channel, "parts": [item.ts for item in self.shown]}
        await self._claim.remember({**reply, "starting": True} if starting else reply)

    def forget(self) -> None:
        """The process need not know these messages any more."""
        for item in self.shown:
            self._streaming.messages.discard((self._message.channel, item.ts))

    def _meta(self, number: int, draft: bool = False) -> dict[str, Any]:
        meta: dict[str, Any] = {"event_id": self._event_id, "part": number, "asked": self._message.ts}
        if self._message.edited:
            meta["edited"] = self._message.edited
        return {**meta, "draft": True} if draft else meta


def _up_to_a_word(text: str) -> str:
    """Slack may drop the blanks that a piece begins with, so no piece does: the last word waits for what follows it."""
    return text[: max(text.rfind(" "), text.rfind("\n")) + 1]
