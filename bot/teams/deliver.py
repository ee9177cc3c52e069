"""From a stored event to its one visible answer in Teams.

The Bot Connector has no idempotency key: a post whose outcome is unknown cannot be repeated without the risk of a
second message. So what is posted first says only that we are looking; its id is stored, and the answer takes its place
by an update, which may be repeated at will. A crash between that post and the storing of its id leaves one orphaned
"Looking in the documents…", never a second answer. Where a message cannot be updated (it was deleted, or the client
has no edits) the answer is posted instead.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from assistant.answering.messages import AnswerEvent, Done, Question
from assistant.database.inbox import Event
from assistant.errors import QuestionRejected
from assistant.knowledge.audience import EVERYONE, Audience
from bot.inbox import Claim, TryLater
from bot.teams import render, texts
from bot.teams.events import Incoming
from bot.teams.port import Connector, Message, Refused, Unreachable

PLATFORM = "teams"
BUSY = frozenset({408, 412, 429, 500, 502, 503, 504})
NO_UPDATE = frozenset({404, 405})
MAX_WAIT = 60.0  # seconds between attempts, unless the platform asks for more
LONGEST_WAIT = 600.0
PATIENCE = 40  # attempts while the platform is away (over half an hour), before the event is given up


class TeamsFrontEnd:
    """Turns events into questions and answers into messages; see ``bot.inbox.FrontEnd``."""

    platform = PLATFORM

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def question(self, event: Event) -> Question:
        incoming = Incoming.restore(event.payload)
        return Question(
            text=incoming.text,
            asker=incoming.asker,
            audience=audience(incoming),
            platform=PLATFORM,
            conversation=incoming.conversation,
            inbox_id=event.id,
        )

    async def deliver(self, event: Event, stream: AsyncIterator[AnswerEvent], claim: Claim) -> dict[str, Any]:
        incoming = Incoming.restore(event.payload)
        shown = _Shown(self._connector, incoming, claim, event.reply or {})
        try:
            if incoming.kind == "welcome":
                await shown.say(texts.WELCOME)
            elif not incoming.text:
                await shown.say(texts.HELP)
            else:
                await shown.reserve(0, texts.LOOKING)
                await shown.all(await _answer(stream))
        except (Refused, Unreachable) as error:
            raise _later(event, error) from error
        return shown.reply()


def audience(incoming: Incoming) -> Audience:
    """Everybody who can read the reply: the asker alone, or whoever is in the group or channel."""
    if incoming.personal:
        return Audience.person(PLATFORM, incoming.person)
    channel = incoming.conversation.partition(";messageid")[0]
    return Audience(frozenset({EVERYONE, f"channel:{PLATFORM}:{channel}"}))


async def _answer(stream: AsyncIterator[AnswerEvent]) -> Sequence[Message]:
    try:
        async for event in stream:
            if isinstance(event, Done):
                return render.answer_messages(event.answer)
    except QuestionRejected as error:
        return (render.plain_message(str(error)),)
    raise RuntimeError("the assistant ended without an answer")


def _later(event: Event, error: Refused | Unreachable) -> Exception:
    """Wait where waiting helps; anything else counts as a failed attempt."""
    if event.attempts >= PATIENCE or (isinstance(error, Refused) and error.status not in BUSY):
        return error
    asked = error.retry_after if isinstance(error, Refused) else None
    if asked is not None:
        return TryLater(min(asked, LONGEST_WAIT), str(error))
    backoff = min(MAX_WAIT, 2.0 ** min(event.attempts - 1, 6))
    return TryLater(backoff * random.uniform(0.5, 1.0), str(error))  # noqa: S311 - jitter, not a secret


class _Shown:
    """The messages of one event, in order, and what of them is already there.

    ``final`` are those known to hold their last text: they are not touched again.
    """

    def __init__(self, connector: Connector, incoming: Incoming, claim: Claim, reply: dict[str, Any]) -> None:
        self._connector = connector
        self._incoming = incoming
        self._claim = claim
        self._ids: list[str] = [reply["activity_id"], *reply.get("more", ())] if reply else []
        self._final: list[str] = list(reply.get("final", ()))

    def reply(self) -> dict[str, Any]:
        return {"activity_id": self._ids[0], "more": self._ids[1:], "final": self._final}

    async def say(self, text: str) -> None:
        """A message that never changes; posted once, unless an earlier attempt did."""
        if not self._ids:
            await self._post(0, Message(text), final=True)

    async def reserve(self, index: int, text: str) -> None:
        """Make sure that the message exists, so that its text can be put into it."""
        if index >= len(self._ids):
            await self._post(index, Message(text))

    async def all(self, messages: Sequence[Message]) -> None:
        for index, message in enumerate(messages):
            await self.reserve(index, texts.MORE)
            await self._put(index, message)
            if index < len(messages) - 1:  # a rate limit on a later part must not begin with the first again
                await self._claim.remember(self.reply())

    async def _put(self, index: int, message: Message) -> None:
        activity_id = self._ids[index]
        if activity_id in self._final:
            return
        await self._claim.check()
        try:
            await self._connector.update(self._incoming.place, activity_id, message)
        except Refused as error:
            if error.status not in NO_UPDATE:
                raise
            await self._post(index, message, final=True)
        else:
            self._final.append(activity_id)

    async def _post(self, index: int, message: Message, *, final: bool = False) -> None:
        await self._claim.check()
        reply_to = self._incoming.activity_id if self._incoming.kind == "message" else None
        activity_id = await self._connector.send(self._incoming.place, message, reply_to)
        self._ids[index : index + 1] = [activity_id]
        if final:
            self._final.append(activity_id)
        await self._claim.remember(self.reply())
