"""Calls to Slack: each waits for its turn, has a deadline, and is refused in words that mean something to us."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import structlog
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.inbox import TryLater
from bot.pace import Pace
from bot.slack.errors import Limited, Refused, Unreachable, retry_after, understood
from bot.slack.render import Part

log = structlog.get_logger()

CALL_SECONDS = 10.0
PAGE = 200  # messages of a thread in one look-up
PATIENCE = 45.0  # a longer wait than this is left to the inbox
MINUTE, SECOND = 60.0, 1.0
METADATA = "almanac_answer"

Check = Callable[[], Awaitable[None]]
Json = dict[str, Any]

_TIERS = {  # calls a minute for a workspace; what is not named has the third tier
    "chat.startStream": 20, "chat.stopStream": 20, "chat.appendStream": 100, "chat.postEphemeral": 100,
    "views.open": 100, "views.update": 100, "views.publish": 100, "users.info": 100, "files.info": 100,
    "assistant.threads.setStatus": 100, "agents.sessions.setStatus": 50,
}  # fmt: skip
_OTHERS = ("chat.update", "chat.delete", "chat.unfurl", "conversations.replies", "conversations.history",
           "conversations.open", "users.lookupByEmail", "assistant.threads.setSuggestedPrompts")  # fmt: skip
_POST = "chat.postMessage"


def new_pace() -> Pace:
    """Slack's budgets: the tiers by workspace, and one message a second by channel."""
    tiers = {name: [(_TIERS.get(name, 50), MINUTE)] for name in (*_TIERS, *_OTHERS)}
    return Pace({**tiers, _POST: [(1, SECOND)]})


class Api:
    """What the bot does on Slack. ``http`` must be set before the first call to a ``response_url`` or a file."""

    http: aiohttp.ClientSession

    def __init__(self, client: AsyncWebClient, pace: Pace) -> None:
        self._client = client
        self.pace = pace
        self._told: set[str] = set()  # missing scopes that were logged

    async def call(
        self,
        name: str,
        method: Callable[..., Awaitable[AsyncSlackResponse]],
        key: str = "",
        check: Check | None = None,
        **arguments: Any,
    ) -> AsyncSlackResponse:
        """One call in its turn; ``check`` is asked just before it. What is limited is tried again when Slack says."""
        while True:
            await self.pace.turn(name, key)
            if check is not None:
                await check()
            try:
                return await understood(name, method(**arguments))
            except Limited as error:
                log.info("slack.limited", method=name, seconds=error.delay)
                self.pace.hold(name, key, error.delay)
                if error.delay > PATIENCE:
                    raise TryLater(error.delay, str(error)) from None
            except Refused as error:
                self._tell(error)
                raise

    def free(self, name: str, key: str = "") -> bool:
        """Whether a call could go now, so that what may as well be left out is left out where it could not."""
        return self.pace.free_in(name, key) <= 0

    async def take(self, name: str, key: str = "") -> bool:
        """Take a call's turn if it could go now; nobody comes between the look and the taking."""
        if not self.free(name, key):
            return False
        await self.pace.turn(name, key)
        return True

    def _tell(self, error: Refused) -> None:
        if error.code == "missing_scope" and str(error) not in self._told:
            self._told.add(str(error))
            log.error("slack.missing_scope", scope=error.needed or "unknown", reason=str(error))

    # messages

    async def post(
        self, channel: str, thread: str | None, part: Part, meta: Mapping[str, Any], check: Check | None = None,
        plain: bool = False,
    ) -> str:  # fmt: skip
        """Send a message; returns its id. ``plain``: as text, for a workspace that refuses its blocks."""
        response = await self.call(
            _POST, self._client.chat_postMessage, channel, check, channel=channel, thread_ts=thread,
            unfurl_links=False, unfurl_media=False, metadata=_metadata(meta), **_content(part, plain),
        )  # fmt: skip
        return str(response["ts"])

    async def update(
        self, channel: str, ts: str, part: Part, meta: Mapping[str, Any], check: Check | None = None,
        plain: bool = False,
    ) -> None:  # fmt: skip
        content = {**_content(part, plain), **({"blocks": []} if plain else {})}
        await self.call(
            "chat.update", self._client.chat_update, "", check, channel=channel, ts=ts, metadata=_metadata(meta),
            **content,
        )  # fmt: skip

    async def delete(self, channel: str, ts: str, check: Check | None = None) -> None:
        await self.call("chat.delete", self._client.chat_delete, "", check, channel=channel, ts=ts)

    async def whisper(self, channel: str, user: str, thread: str | None, part: Part) -> None:
        """A message that one person sees."""
        await self.call(
            "chat.postEphemeral", self._client.chat_postEphemeral, channel=channel, user=user, thread_ts=thread,
            **_content(part, False),
        )  # fmt: skip

    async def open_direct(self, user: str) -> str:
        """The channel of direct messages with somebody."""
        response = await self.call("conversations.open", self._client.conversations_open, users=[user])
        return str((response.get("channel") or {}).get("id") or user)

    async def respond(self, url: str, body: Json) -> bool:
        """Post to a ``response_url``; False where Slack takes no more there."""
        try:
            async with self.http.post(url, json=body) as response:
                if response.status == 429:
                    raise TryLater(retry_after(response.headers.get("Retry-After")), "Slack limits the rate")
                text = await response.text()
                if response.status >= 500:
                    raise Unreachable(f"HTTP {response.status}")
                return response.status == 200 and "error" not in text[:200]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(type(error).__name__) from None

    # streams

    async def start_stream(
        self, channel: str, thread: str, team: str, user: str, text: str, check: Check | None = None
    ) -> str:
        """Begin a message that grows; returns its id. Its turn was taken before.

        Never repeated here: a second one would double the answer.
        """
        if check is not None:
            await check()
        response = await self._once(
            "chat.startStream",
            self._client.chat_startStream(
                channel=channel, thread_ts=thread, recipient_team_id=team, recipient_user_id=user, markdown_text=text
            ),
        )
        return str(response["ts"])

    async def append_stream(self, channel: str, ts: str, text: str, check: Check | None = None) -> None:
        await self.pace.turn("chat.appendStream")
        if check is not None:
            await check()
        await self._once(
            "chat.appendStream", self._client.chat_appendStream(channel=channel, ts=ts, markdown_text=text)
        )

    async def stop_stream(
        self, channel: str, ts: str, text: str = "", below: Sequence[Json] = (), meta: Mapping[str, Any] | None = None,
        check: Check | None = None,
    ) -> None:  # fmt: skip
        await self.call(
            "chat.stopStream", self._client.chat_stopStream, "", check, channel=channel, ts=ts,
            markdown_text=text or None, blocks=list(below) or None, metadata=_metadata(meta) if meta else None,
        )  # fmt: skip

    async def _once(self, name: str, request: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
        try:
            return await understood(name, request)
        except Limited as error:
            self.pace.hold(name, "", error.delay)
            raise
        except Refused as error:
            self._tell(error)
            raise

    # what a thread holds

    async def replies(self, channel: str, thread: str, oldest: str) -> AsyncIterator[Json]:
        """A thread's messages since one of them; where it cannot be read as a thread, the channel's since then."""
        try:
            async for posted in self._pages("conversations.replies", channel, oldest, ts=thread):
                yield posted
        except Refused as error:
            if error.code not in ("thread_not_found", "message_not_found"):
                raise
            async for posted in self._pages("conversations.history", channel, oldest):
                yield posted

    async def _pages(self, name: str, channel: str, oldest: str, **arguments: Any) -> AsyncIterator[Json]:
        method = getattr(self._client, name.replace(".", "_"))
        cursor: str | None = None
        while True:
            response = await self.call(
                name, method, channel=channel, oldest=oldest, limit=PAGE, cursor=cursor, include_all_metadata=True,
                **arguments,
            )  # fmt: skip
            for posted in response.get("messages") or ():
                yield posted
            cursor = (response.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return

    async def message(self, channel: str, ts: str, thread: str) -> Json | None:
        """One message as it is now."""
        extra: Json
        name, extra = ("conversations.replies", {"ts": thread}) if thread != ts else ("conversations.history", {})
        method = getattr(self._client, name.replace(".", "_"))
        response = await self.call(
            name, method, channel=channel, oldest=ts, latest=ts, inclusive=True, limit=2, **extra
        )
        return next((posted for posted in response.get("messages") or () if posted.get("ts") == ts), None)

    # signs, views, people

    async def look_busy(self, channel: str, thread: str, status: str, check: Check | None = None) -> None:
        """A sign in the thread that the question is being worked on. Slack removes it with the reply."""
        await self.call(
            "assistant.threads.setStatus", self._client.assistant_threads_setStatus, "", check,
            channel_id=channel, thread_ts=thread, status=status,
        )  # fmt: skip

    async def session_active(self, channel: str, thread: str) -> None:
        """Tell Slack that the work it offered to stop has ended; an older Slack does not know of sessions."""
        with contextlib.suppress(Refused, Unreachable, TryLater):
            await self.call(
                "agents.sessions.setStatus", self._client.agents_sessions_setStatus, status="active",
                channel_id=channel, thread_ts=thread,
            )  # fmt: skip

    async def suggest(self, channel: str, title: str, prompts: Sequence[Mapping[str, str]], thread: str | None) -> None:
        """Prompts to begin with: four at most. In an agent's view a ``thread`` would be ignored in silence."""
        await self.call(
            "assistant.threads.setSuggestedPrompts", self._client.assistant_threads_setSuggestedPrompts,
            channel_id=channel, title=title, prompts=[dict(prompt) for prompt in prompts][:4], thread_ts=thread,
        )  # fmt: skip

    async def open_view(self, trigger: str, view: Json) -> None:
        await self.call("views.open", self._client.views_open, trigger_id=trigger, view=view)

    async def publish_home(self, user: str, view: Json) -> None:
        await self.call("views.publish", self._client.views_publish, user_id=user, view=view)

    async def user(self, user: str) -> Json:
        response = await self.call("users.info", self._client.users_info, user=user, include_locale=True)
        return dict(response.get("user") or {})

    async def user_by_email(self, email: str) -> str:
        response = await self.call("users.lookupByEmail", self._client.users_lookupByEmail, email=email)
        return str((response.get("user") or {}).get("id") or "")

    async def file(self, file_id: str) -> Json:
        response = await self.call("files.info", self._client.files_info, file=file_id)
        return dict(response.get("file") or {})

    async def unfurl(self, where: Mapping[str, Any], unfurls: Mapping[str, Json]) -> None:
        await self.call("chat.unfurl", self._client.chat_unfurl, **where, unfurls=dict(unfurls))


def _content(part: Part, plain: bool) -> Json:
    if plain:
        return {"text": part.plain}
    return {"text": part.text, "blocks": part.blocks}


def _metadata(payload: Mapping[str, Any]) -> Json:
    return {"event_type": METADATA, "event_payload": dict(payload)}
