"""Calls to Slack, each with a deadline, and each refusal as what it means for us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.inbox import TryLater
from bot.slack import texts
from bot.slack.events import Message
from bot.slack.render import Part

CALL_SECONDS = 10.0
PAGE = 200  # messages of a thread in one look-up
LONGEST_WAIT = 600.0
METADATA = "almanac_answer"

# Slack's own trouble: whether the call took effect is not known.
_TRANSIENT = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
_LIMITED = {"ratelimited", "rate_limited", "message_limit_exceeded"}
_UNREADABLE = {"missing_scope", "not_in_channel", "channel_not_found", "not_allowed_token_type", "no_permission"}


class Refused(Exception):
    """Slack will not do this however often it is asked; ``code`` is its word for why."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack refused: {code}")
        self.code = code


class Unreachable(Exception):
    """There was no usable reply. The call may have taken effect all the same."""


class Api:
    """What the bot does on Slack."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client

    async def post(self, message: Message, part: Part, event_id: str, answer_id: str, number: int) -> str:
        """Send one part of an answer into the message's thread; returns its id."""
        return await self._post(message, part.text, part.blocks, event_id, answer_id, number)

    async def post_plain(self, message: Message, part: Part, event_id: str, answer_id: str, number: int) -> str:
        """The same part for a workspace that refuses its blocks."""
        return await self._post(message, part.plain, None, event_id, answer_id, number)

    async def _post(
        self,
        message: Message,
        text: str,
        blocks: list[dict[str, Any]] | None,
        event_id: str,
        answer_id: str,
        number: int,
    ) -> str:
        payload = {"event_id": event_id, "answer_id": answer_id, "part": number}
        response = await _call(
            self._client.chat_postMessage(
                channel=message.channel,
                thread_ts=message.thread,
                text=text,
                blocks=blocks,
                metadata={"event_type": METADATA, "event_payload": payload},
                unfurl_links=False,
                unfurl_media=False,
            )
        )
        return str(response["ts"])

    async def sent(self, message: Message, event_id: str) -> dict[int, str]:
        """The parts of the answer to an event that are in the channel already: number -> id."""
        found: dict[int, str] = {}
        async for posted in self._replies(message):
            metadata = posted.get("metadata") or {}
            payload = metadata.get("event_payload") or {}
            if metadata.get("event_type") == METADATA and payload.get("event_id") == event_id:
                found.setdefault(int(payload.get("part", 0)), str(posted["ts"]))
        return found

    async def _replies(self, message: Message) -> AsyncIterator[dict[str, Any]]:
        """The thread since the message; where the thread cannot be read as one, the channel since then."""
        try:
            async for posted in self._pages(self._client.conversations_replies, message, ts=message.thread):
                yield posted
        except Refused as error:
            if error.code not in ("thread_not_found", "message_not_found"):
                raise
            async for posted in self._pages(self._client.conversations_history, message):
                yield posted

    async def _pages(self, method: Any, message: Message, **arguments: str) -> AsyncIterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            response = await _call(
                method(
                    channel=message.channel, oldest=message.ts, limit=PAGE, cursor=cursor,
                    include_all_metadata=True, **arguments,
                )
            )  # fmt: skip
            for posted in response.get("messages") or ():
                yield posted
            cursor = (response.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return

    async def look_busy(self, message: Message) -> None:
        """A sign in the thread that the question is being worked on. Slack removes it with the reply."""
        await _call(
            self._client.assistant_threads_setStatus(
                channel_id=message.channel, thread_ts=message.thread, status=texts.LOOKING
            )
        )


def unreadable(error: Refused) -> bool:
    """Whether the app may not read the channel, so that nothing can be looked up there."""
    return error.code in _UNREADABLE


async def _call(request: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
    try:
        return await request
    except SlackApiError as error:
        raise _meaning(error) from None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unreachable(type(error).__name__) from None


def _meaning(error: SlackApiError) -> Exception:
    response = error.response  # of the SDK, or aiohttp's where the body was not JSON
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    if status == 429 or code in _LIMITED:
        return TryLater(_retry_after(response.headers.get("Retry-After")), "Slack limits the rate")
    if status != 200 or code is None or code in _TRANSIENT:
        return Unreachable(f"HTTP {status} {code or ''}".strip())
    return Refused(str(code))


def _retry_after(header: str | None) -> float:
    try:
        return min(max(float(header or 1), 0.1), LONGEST_WAIT)
    except ValueError:
        return 30.0
