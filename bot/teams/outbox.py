"""The messages that one event has led to, in order, and what of them is already there.

The Bot Connector has no idempotency key: a post whose outcome is unknown cannot be repeated without the risk of a
second message. So what is posted first says only that we are looking; its id is stored, and the answer takes its place
by an update, which may be repeated at will. A crash between that post and the storing of its id leaves one orphaned
"Looking in the documents…", never a second answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from assistant.strings import say
from bot.inbox import Claim
from bot.teams import render
from bot.teams.port import Chunk, Connector, Message, Place, Refused

log = structlog.get_logger()

GONE = frozenset({403, 404, 410})  # the message is not there (any more), or is not ours to change
NO_UPDATES = frozenset({405, 501})  # this client has none
TOO_MUCH = frozenset({400, 413})  # something in it is not taken


class Ledger:
    """What is stored with an event of the messages it has led to; ``more`` lists all but the first, for the votes."""

    def __init__(self, claim: Claim, stored: dict[str, Any] | None) -> None:
        self._claim = claim
        self.data: dict[str, Any] = dict(stored or {})

    def section(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.data.setdefault(name, {}) if name else self.data
        return found

    async def check(self) -> None:
        await self._claim.check()

    async def save(self) -> None:
        await self._claim.remember(self.reply())

    def reply(self) -> dict[str, Any]:
        private = self.data.get("private") or {}
        ids = [*self.data.get("parts", ()), private.get("activity_id"), *private.get("parts", ())]
        return {**self.data, "more": [found for found in ids if found]} if self.data else {}


class Borrowed(Ledger):
    """Another event's messages: changed under this event's claim, and not stored with it."""

    async def save(self) -> None:
        """What is left of them is not this event's reply."""


class Outbox:
    """Messages to one place. ``final`` are those known to hold their last text: they are not touched again."""

    def __init__(
        self, connector: Connector, place: Place, ledger: Ledger, language: str,
        *, reply_to: str | None = None, section: str = "",
    ) -> None:  # fmt: skip
        self._connector = connector
        self.place = place
        self.ledger = ledger
        self.language = language
        self._reply_to = reply_to
        self._kept = ledger.section(section)
        first = self._kept.get("activity_id")
        self._ids: list[str] = [first, *self._kept.get("parts", self._kept.get("more", ()))] if first else []
        self._final: list[str] = list(self._kept.get("final", ()))

    @property
    def begun(self) -> bool:
        return bool(self._ids)

    @property
    def settled(self) -> bool:
        """Whether the first message holds its last text."""
        return bool(self._ids) and self._ids[0] in self._final

    @property
    def stream_id(self) -> str | None:
        """The stream that the first message is, while it may still be open."""
        return self._ids[0] if self._kept.get("stream") and self._ids and not self.settled else None

    @property
    def stopped(self) -> bool:
        """Whether the asker stopped the stream after some of its text was shown."""
        return bool(self._kept.get("stopped"))

    async def stop(self) -> None:
        self._kept["stopped"] = True
        await self._save()

    async def say(self, message: Message) -> None:
        """A message that never changes; posted once, unless an earlier attempt did."""
        if not self._ids:
            await self._post(0, message, final=True)

    async def reserve(self, index: int, text: str) -> None:
        """Make sure that the message exists, so that its text can be put into it."""
        if index >= len(self._ids):
            await self._post(index, Message(text))

    async def stream(self, text: str) -> None:
        """Begin a stream; what is shown first is not a message yet, so a lost one is never seen."""
        await self.ledger.check()
        stream_id = await self._connector.stream(self.place, Message(text), Chunk("informative", 1))
        if not stream_id:
            raise Refused(405, "without a stream id")
        self._ids = [stream_id]
        self._kept["stream"] = True
        await self._save()

    async def chunk(self, message: Message, chunk: Chunk) -> None:
        """Send the next step of the stream, or its end."""
        await self.ledger.check()
        await self._connector.stream(self.place, message, chunk)

    async def edit(self, message: Message) -> None:
        """Change the first message; it is not final by that."""
        await self.ledger.check()
        await self._connector.update(self.place, self._ids[0], message)

    async def all(self, messages: Sequence[Message]) -> None:
        """Put each message where it belongs, and take away what an earlier, longer answer had more of."""
        for index, message in enumerate(messages):
            if message.card is not None and index >= len(self._ids):  # no answer, so a second one would do no harm
                await self._post(index, message, final=True)
                continue
            await self.reserve(index, say("teams.more", self.language))
            await self._put(index, message)
            if index < len(messages) - 1:  # a rate limit on a later part must not begin with the first again
                await self._save()
        await self._trim(len(messages))
        self._keep()

    async def sealed(self) -> None:
        """The first message is what it is to be."""
        self._final.append(self._ids[0])
        await self._save()

    async def delete(self) -> None:
        """Take every message away."""
        await self._trim(0)
        self._final = []
        await self._save()

    def reopen(self) -> None:
        """Let the messages be put anew: what they showed is answered again."""
        self._final = []

    async def _put(self, index: int, message: Message) -> None:
        activity_id = self._ids[index]
        if activity_id in self._final:
            return
        await self.ledger.check()
        try:
            await self._update(activity_id, message)
        except Refused as error:
            if error.status in GONE:
                await self._post(index, Message(say("teams.looking", self.language)))
                await self._anew(index, message)
            elif error.status in NO_UPDATES:
                await self._post(index, message, final=True)
            else:
                raise
        else:
            self._final.append(activity_id)

    async def _anew(self, index: int, message: Message) -> None:
        """Into a message that has just been posted; where even that cannot be updated, beside it."""
        await self.ledger.check()
        try:
            await self._update(self._ids[index], message)
        except Refused as error:
            if error.status not in GONE | NO_UPDATES:
                raise
            await self._post(index, message, final=True)
        else:
            self._final.append(self._ids[index])

    async def _update(self, activity_id: str, message: Message) -> None:
        try:
            await self._connector.update(self.place, activity_id, message)
        except Refused as error:
            if error.status not in TOO_MUCH or message == render.reduced(message):
                raise
            log.warning("teams.reduced", status=error.status, code=error.code, reason=error.reason[:200])
            await self._connector.update(self.place, activity_id, render.reduced(message))

    async def _post(self, index: int, message: Message, *, final: bool = False) -> None:
        await self.ledger.check()
        activity_id = await self._connector.send(self.place, message, self._reply_to)
        self._ids[index : index + 1] = [activity_id]
        if index == 0:
            self._kept.pop("stream", None)
        if final:
            self._final.append(activity_id)
        await self._save()

    async def _trim(self, length: int) -> None:
        for activity_id in self._ids[length:]:
            await self.ledger.check()
            try:
                await self._connector.delete(self.place, activity_id)
            except Refused as error:
                if error.status in NO_UPDATES:  # nothing is ever deleted there, so at least its words go
                    await self._blank(activity_id)
                elif error.status not in GONE:
                    raise
        del self._ids[length:]

    async def _blank(self, activity_id: str) -> None:
        try:
            await self._connector.update(self.place, activity_id, Message(say("teams.more", self.language)))
        except Refused as error:
            if error.status not in GONE | NO_UPDATES | TOO_MUCH:
                raise

    async def _save(self) -> None:
        self._keep()
        await self.ledger.save()

    def _keep(self) -> None:
        self._kept.pop("more", None)
        if not self._ids:
            for name in ("activity_id", "parts", "final", "stream", "stopped"):
                self._kept.pop(name, None)
            return
        self._kept.update(activity_id=self._ids[0], parts=self._ids[1:], final=list(self._final))


def targeted(place: Place) -> Place:
    """The same conversation, for the eyes of one person."""
    return replace(place, only=place.user_id)
