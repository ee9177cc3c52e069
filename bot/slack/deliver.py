"""From a stored event to its one answer in the thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import structlog

from assistant.answering.messages import AnswerEvent, Done, Question
from assistant.database.inbox import Event
from assistant.errors import QuestionRejected
from bot.inbox import Claim, LostClaim, TryLater
from bot.slack import texts
from bot.slack.api import Api, Refused, Unreachable, unreadable
from bot.slack.events import PLATFORM, Message
from bot.slack.render import Part, answer_parts, plain_part

log = structlog.get_logger()

BUSY_AFTER = 0.7  # seconds; an answer that is there sooner needs no sign
FIRST_BACKOFF, LONGEST_BACKOFF = 2.0, 60.0  # seconds; doubled with each attempt

_TOO_MUCH = {"msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format", "markdown_text_conflict"}
_GONE = {
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "is_inactive",
    "thread_not_found",
    "message_not_found",
    "cannot_reply_to_message",
    "restricted_action",
    "restricted_action_read_only_channel",
    "restricted_action_thread_locked",
    "restricted_action_thread_only_channel",
    "messages_tab_disabled",
    "user_not_found",
    "cannot_dm_bot",
}


class SlackFrontEnd:
    """Implements ``bot.inbox.FrontEnd``."""

    platform = PLATFORM

    def __init__(self, api: Api) -> None:
        self._api = api

    async def question(self, event: Event) -> Question:
        return Message(**event.payload).question(event.id)

    async def deliver(self, event: Event, stream: AsyncIterator[AnswerEvent], claim: Claim) -> dict[str, Any]:
        """Send what the thread does not hold yet, and return the ids of all parts."""
        message = Message(**event.payload)
        try:
            return await self._deliver(message, event, stream, claim)
        except Unreachable as error:
            delay = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(event.attempts - 1, 10))
            raise TryLater(delay, f"Slack: {error}") from None
        except Refused as error:
            if error.code not in _GONE:
                raise
            log.warning("slack.channel_gone", inbox_id=str(event.id), channel=message.channel, code=error.code)
            return {"channel": message.channel, "refused": error.code}

    async def _deliver(
        self, message: Message, event: Event, stream: AsyncIterator[AnswerEvent], claim: Claim
    ) -> dict[str, Any]:
        async with self._looking_busy(message, claim):
            answer_id, parts = await _parts(message, stream)
        sent = await self._sent(message, event) if event.attempts > 1 else {}
        for number, part in enumerate(parts):
            if number not in sent:
                sent[number] = await self._send(message, part, claim, event.event_id, answer_id, number)
        return {"channel": message.channel, "parts": [sent[number] for number in range(len(parts))]}

    async def _send(
        self, message: Message, part: Part, claim: Claim, event_id: str, answer_id: str, number: int
    ) -> str:
        await claim.check()
        try:
            return await self._api.post(message, part, event_id, answer_id, number)
        except Refused as error:
            if error.code not in _TOO_MUCH:
                raise
            log.warning("slack.blocks_refused", event_id=event_id, part=number, code=error.code)
        await claim.check()
        return await self._api.post_plain(message, part, event_id, answer_id, number)

    async def _sent(self, message: Message, event: Event) -> dict[int, str]:
        """What an earlier attempt got through. An app that may not read the channel answers without knowing."""
        try:
            return await self._api.sent(message, event.event_id)
        except Refused as error:
            if not unreadable(error):
                raise
            log.warning("slack.cannot_look_up", inbox_id=str(event.id), channel=message.channel, code=error.code)
            return {}

    @contextlib.asynccontextmanager
    async def _looking_busy(self, message: Message, claim: Claim) -> AsyncIterator[None]:
        sign = asyncio.create_task(self._look_busy(message, claim), name="slack-busy")
        try:
            yield
        finally:
            sign.cancel()
            await asyncio.wait([sign])

    async def _look_busy(self, message: Message, claim: Claim) -> None:
        await asyncio.sleep(BUSY_AFTER)
        with contextlib.suppress(Refused, Unreachable, TryLater, LostClaim):  # a sign, not an answer
            await claim.check()
            await self._api.look_busy(message)


async def _parts(message: Message, stream: AsyncIterator[AnswerEvent]) -> tuple[str, list[Part]]:
    """The answer's id and its messages; a question that is none gets a sentence."""
    try:
        async for event in stream:
            if isinstance(event, Done):
                return str(event.answer.id), answer_parts(event.answer, message.outsiders)
    except QuestionRejected as error:
        return "", [plain_part(str(error) if message.text else texts.HELP)]
    raise RuntimeError("the stream ended without an answer")
