"""Replies that one person sees: to a command, a button, a private question."""

from __future__ import annotations

import time
from typing import Any

import structlog

from bot.slack.errors import Refused
from bot.slack.events import Message
from bot.slack.render import Part, plain_part
from bot.slack.workplace import Workplace

log = structlog.get_logger()

USES, LIFE_SECONDS = 5, 29 * 60.0  # of a response_url


class Responder:
    """Speaks through the ``response_url`` while it lasts, else beside the conversation, else in a direct message.

    ``used``: how often the URL was used before. ``message.thread`` is empty outside threads.
    """

    def __init__(self, place: Workplace, message: Message, used: int = 0, began: float | None = None) -> None:
        self._place = place
        self._message = message
        self.used = used
        self._began = time.time() if began is None else began

    @property
    def left(self) -> int:
        """How often the URL can still be used."""
        return USES - self.used if self._message.reply_url and time.time() - self._began < LIFE_SECONDS else 0

    async def say(self, part: Part | str, replace: bool = False) -> None:
        """``replace``: in place of the message whose button was pressed."""
        part = plain_part(part) if isinstance(part, str) else part
        if self.left > 0:
            self.used += 1
            if await self._place.api.respond(self._message.reply_url, self._body(part, replace)):
                return
            self.used = USES
            log.info("slack.response_url_over", channel=self._message.channel)
        await self._beside(part)

    async def _beside(self, part: Part) -> None:
        message = self._message
        if not message.direct and message.channel:
            try:
                await self._place.api.whisper(message.channel, message.user, message.thread or None, part)
            except Refused as error:
                log.info("slack.not_whispered", channel=message.channel, code=error.code)
            else:
                return
        channel = message.channel if message.direct else await self._place.api.open_direct(message.user)
        thread = message.thread or None if message.direct else None
        await self._place.api.post(channel, thread, part, {"private": True})

    def _body(self, part: Part, replace: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"text": part.text, "blocks": part.blocks, "response_type": "ephemeral"}
        if replace:
            body["replace_original"] = True
        else:
            body["replace_original"] = False
            if self._message.thread:
                body["thread_ts"] = self._message.thread
        return body
