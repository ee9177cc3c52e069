"""The double's Web API: what each method does, and what it refuses."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.slack.limits import BLOCKS, MARKDOWN, refused, refused_blocks, refused_view

TEAM, BOT, BOT_ID, APP = "T0TEAM", "U0ALMANAC", "B0ALMANAC", "A0ALMANAC"
BOT_TOKEN, APP_TOKEN = "xoxb-test-token", "xapp-test-token"
CHANNEL, DM, ANNA, BEN = "C0GENERAL", "D0ANNA", "U0ANNA", "U0BEN"
STREAM_SECONDS = 306.0
TRIGGER_SECONDS = 3.0

Json = dict[str, Any]

SCOPES = {
    "conversations.replies": "channels:history", "conversations.history": "channels:history",
    "users.info": "users:read", "users.lookupByEmail": "users:read.email", "files.info": "files:read",
    "chat.unfurl": "links:write", "conversations.open": "im:write", "chat.postMessage": "chat:write",
    "chat.startStream": "chat:write", "assistant.threads.setStatus": "assistant:write",
    "assistant.threads.setSuggestedPrompts": "assistant:write",
}  # fmt: skip


@dataclass
class Said(Exception):
    """An answer with ok: false."""

    error: str
    needed: str = ""


@dataclass
class Channel:
    messages: list[Json] = field(default_factory=list)
    archived: bool = False
    member: bool = True
    members: set[str] = field(default_factory=lambda: {ANNA, BEN, BOT})


@dataclass
class Stream:
    """A message that grows. ``life``: seconds until Slack ends it, whatever is appended."""

    started: float
    state: str = "in_progress"  # completed, expired, stopped


class WebApi:
    """Channels, messages, views and people. ``missing``: scopes that the app was not given."""

    def __init__(self, changed: asyncio.Event) -> None:
        self.channels: dict[str, Channel] = {CHANNEL: Channel(), DM: Channel(members={ANNA, BOT})}
        self.ephemerals: list[Json] = []
        self.statuses: list[Json] = []
        self.sessions: list[Json] = []
        self.prompts: list[Json] = []
        self.views: list[Json] = []
        self.homes: dict[str, Json] = {}
        self.unfurls: list[Json] = []
        self.deleted: list[Json] = []
        self.files: dict[str, Json] = {}
        self.people: dict[str, Json] = {
            ANNA: person(ANNA, "Anna", "anna@example.com"), BEN: person(BEN, "Ben", "ben@example.com", "de-DE"),
        }  # fmt: skip
        self.missing: set[str] = set()
        self.unknown: set[str] = set()  # methods that this Slack does not have
        self.unsupported_blocks: set[str] = set()
        self.stream_seconds = STREAM_SECONDS
        self.page = 1_000  # the most messages a look-up returns
        self.triggers: dict[str, float] = {}
        self.agent = True  # made with the agent's view: every message to the app is the root of a thread
        self._streams: dict[tuple[str, str], Stream] = {}
        self._clock = itertools.count(1_700_000_000)
        self._changed = changed

    def ts(self) -> str:
        return f"{next(self._clock)}.000100"

    def trigger(self) -> str:
        """A trigger_id, good for three seconds and one view."""
        name = f"{uuid.uuid4().hex}.trigger"
        self.triggers[name] = time.monotonic()
        return name

    def handle(self, method: str, token: str, arguments: Json) -> Json:
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            raise Said("invalid_auth" if token else "not_authed")
        handler = getattr(self, "_" + method.replace(".", "_"), None)
        if handler is None or method in self.unknown:
            raise Said("unknown_method")
        if (scope := SCOPES.get(method)) in self.missing:
            raise Said("missing_scope", scope or "")
        reply: Json = handler(arguments)
        self._changed.set()
        return reply

    # messages

    def _auth_test(self, _arguments: Json) -> Json:
        return {"team_id": TEAM, "user_id": BOT, "bot_id": BOT_ID}

    def _chat_postMessage(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "not_in_channel")
        if channel.archived:
            raise Said("is_archived")
        thread = arguments.get("thread_ts")
        if thread is not None and not any(message["ts"] == thread for message in channel.messages):
            raise Said("thread_not_found")
        self._check(arguments)
        message = self._new(channel, arguments)
        return {"channel": arguments["channel"], "ts": message["ts"], "message": message}

    def _new(self, channel: Channel, arguments: Json) -> Json:
        kept = ("channel", "thread_ts", "text", "blocks", "metadata", "unfurl_links", "unfurl_media")
        message = {key: arguments[key] for key in kept if arguments.get(key) is not None}
        message |= {"type": "message", "ts": self.ts(), "user": BOT, "bot_id": BOT_ID, "app_id": APP}
        channel.messages.append(message)
        return message

    def _chat_postEphemeral(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "not_in_channel")
        if arguments.get("user") not in channel.members:
            raise Said("user_not_in_channel")
        self._check(arguments)
        self.ephemerals.append({**arguments, "response_type": "ephemeral"})
        return {"message_ts": self.ts()}

    def _chat_update(self, arguments: Json) -> Json:
        message = self._own(arguments)
        if self._state(arguments) == "in_progress":
            raise Said("streaming_state_conflict")
        self._check(arguments)
        kept = ("text", "blocks", "metadata")
        message.update({key: arguments[key] for key in kept if arguments.get(key) is not None})
        message["edited"] = {"user": BOT, "ts": self.ts()}
        return {"channel": arguments["channel"], "ts": message["ts"], "text": message.get("text", "")}

    def _chat_delete(self, arguments: Json) -> Json:
        message = self._own(arguments)
        if self._state(arguments) == "in_progress":
            raise Said("cant_delete_message")
        self.channels[arguments["channel"]].messages.remove(message)
        self.deleted.append(message)
        return {"ts": message["ts"]}

    def _check(self, arguments: Json) -> None:
        error = refused(arguments)
        if any(block["type"] in self.unsupported_blocks for block in arguments.get("blocks") or ()):
            error = error or "invalid_blocks"
        if error is not None:
            raise Said(error)

    def _own(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "channel_not_found")
        message = next((m for m in channel.messages if m["ts"] == arguments.get("ts")), None)
        if message is None:
            raise Said("message_not_found")
        if message.get("bot_id") != BOT_ID:
            raise Said("cant_update_message")
        return message

    # streams

    def _chat_startStream(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "not_in_channel")
        if channel.archived:
            raise Said("is_archived")
        thread = arguments.get("thread_ts")
        if not thread:
            raise Said("invalid_arguments")
        if not any(message["ts"] == thread for message in channel.messages):
            raise Said("thread_not_found")
        for name in ("recipient_team_id", "recipient_user_id"):
            if not arguments.get(name):
                raise Said(f"missing_{name}")
        text = self._piece(arguments)
        message = self._new(channel, {"channel": arguments["channel"], "thread_ts": thread, "text": text})
        message["blocks"] = [{"type": "markdown", "text": text}] if text else []
        self._streams[arguments["channel"], message["ts"]] = Stream(time.monotonic())
        return {"channel": arguments["channel"], "ts": message["ts"]}

    def _chat_appendStream(self, arguments: Json) -> Json:
        message = self._streaming(arguments)
        self._extend(message, self._piece(arguments))
        return {"channel": arguments["channel"], "ts": message["ts"]}

    def _chat_stopStream(self, arguments: Json) -> Json:
        message = self._streaming(arguments)
        text, below = self._piece(arguments), list(arguments.get("blocks") or [])
        whole = [{"type": "markdown", "text": message["text"] + text}] if message["text"] + text else []
        if len(below) > BLOCKS:
            raise Said("invalid_blocks")
        error = refused_blocks([*whole, *below])
        if error or any(block["type"] in self.unsupported_blocks for block in below):
            raise Said(error or "invalid_blocks")
        self._extend(message, text)
        message["blocks"] = [*message["blocks"], *below]
        if arguments.get("metadata") is not None:
            self._check({"text": "x", "metadata": arguments["metadata"]})
            message["metadata"] = arguments["metadata"]
        self._streams[arguments["channel"], message["ts"]].state = "completed"
        return {"channel": arguments["channel"], "ts": message["ts"], "message": message}

    def _piece(self, arguments: Json) -> str:
        text = str(arguments.get("markdown_text") or "")
        for chunk in arguments.get("chunks") or ():
            text += chunk.get("text", "") if chunk.get("type") == "markdown_text" else ""
        if len(text) > MARKDOWN:
            raise Said("msg_too_long")
        return text

    def _extend(self, message: Json, text: str) -> None:
        message["text"] += text
        message["blocks"] = [{"type": "markdown", "text": message["text"]}] if message["text"] else []

    def _streaming(self, arguments: Json) -> Json:
        message = self._own(arguments)
        state = self._state(arguments)
        if state == "stopped":
            raise Said("stopped_by_user")
        if state != "in_progress":
            raise Said("message_not_in_streaming_state")
        return message

    def _state(self, arguments: Json) -> str | None:
        stream = self._streams.get((str(arguments.get("channel")), str(arguments.get("ts"))))
        if stream is None:
            return None
        if stream.state == "in_progress" and time.monotonic() - stream.started > self.stream_seconds:
            stream.state = "expired"
        return stream.state

    def press_stop(self, message: Json) -> Json:
        """Somebody presses the native Stop; returns the event that Slack sends."""
        self._streams[message["channel"], message["ts"]].state = "stopped"
        return {
            "type": "agent_session_stopped", "channel": message["channel"], "user": ANNA,
            "thread_ts": message["thread_ts"], "streaming_message_ts": [message["ts"]], "event_ts": self.ts(),
        }  # fmt: skip

    def open_streams(self) -> list[tuple[str, str]]:
        found = [(channel, ts) for channel, ts in self._streams if self._state({"channel": channel, "ts": ts})]
        return [key for key in found if self._streams[key].state == "in_progress" and self._exists(key)]

    def _exists(self, key: tuple[str, str]) -> bool:
        return any(message["ts"] == key[1] for message in self.channels[key[0]].messages)

    # threads

    def _conversations_replies(self, arguments: Json) -> Json:
        channel, ts = self._channel(arguments, "not_in_channel"), arguments.get("ts")
        root = [message for message in channel.messages if message["ts"] == ts]
        if not root:
            raise Said("thread_not_found")
        replies = [message for message in channel.messages if message.get("thread_ts") == ts and message["ts"] != ts]
        return self._paged(arguments, [*root, *(reply for reply in replies if _within(reply, arguments))])

    def _conversations_history(self, arguments: Json) -> Json:
        channel = self._channel(arguments, "not_in_channel")
        found = [m for m in channel.messages if not m.get("thread_ts") and _within(m, arguments)]
        return self._paged(arguments, found[::-1])

    def _paged(self, arguments: Json, messages: list[Json]) -> Json:
        start, limit = int(arguments.get("cursor") or 0), min(int(arguments.get("limit") or 100), self.page)
        shown = messages[start : start + limit]
        if str(arguments.get("include_all_metadata")).lower() not in ("1", "true"):
            shown = [{key: value for key, value in message.items() if key != "metadata"} for message in shown]
        more = start + limit < len(messages)
        cursor = str(start + limit) if more else ""
        return {"messages": shown, "has_more": more, "response_metadata": {"next_cursor": cursor}}

    def _conversations_info(self, arguments: Json) -> Json:
        self._channel(arguments, "channel_not_found")
        name = str(arguments["channel"])
        return {"channel": {"id": name, "name": name.lower(), "is_ext_shared": False}}

    def _conversations_members(self, arguments: Json) -> Json:
        return {"members": sorted(self._channel(arguments, "channel_not_found").members)}

    def _conversations_open(self, arguments: Json) -> Json:
        users = arguments.get("users") or []
        user = (users.split(",") if isinstance(users, str) else list(users))[0]
        name = DM if user == ANNA else f"D0{user[2:]}"
        self.channels.setdefault(name, Channel(members={user, BOT}))
        return {"channel": {"id": name}}

    # signs and views

    def _assistant_threads_setStatus(self, arguments: Json) -> Json:
        self._channel({"channel": arguments.get("channel_id")}, "channel_not_found")
        if not arguments.get("thread_ts"):
            raise Said("invalid_arguments")
        self.statuses.append(arguments)
        return {}

    def _agents_sessions_setStatus(self, arguments: Json) -> Json:
        if arguments.get("status") not in ("active", "processing", "suspended", "closed"):
            raise Said("invalid_arguments")
        self.sessions.append(arguments)
        return {}

    def _assistant_threads_setSuggestedPrompts(self, arguments: Json) -> Json:
        prompts = arguments.get("prompts") or []
        if not 1 <= len(prompts) <= 4 or not all(p.get("title") and p.get("message") for p in prompts):
            raise Said("invalid_arguments")
        if not (self.agent and arguments.get("thread_ts")):  # which fails in silence
            self.prompts.append(arguments)
        return {}

    def _views_open(self, arguments: Json) -> Json:
        made = self.triggers.pop(str(arguments.get("trigger_id")), None)
        if made is None:
            raise Said("invalid_trigger_id")
        if time.monotonic() - made > TRIGGER_SECONDS:
            raise Said("expired_trigger_id")
        return self._view(arguments)

    def _views_update(self, arguments: Json) -> Json:
        return self._view(arguments)

    def _view(self, arguments: Json) -> Json:
        view = arguments.get("view") or {}
        if error := refused_view(view):
            raise Said(error)
        shown = {**view, "id": f"V{uuid.uuid4().hex[:10].upper()}"}
        self.views.append(shown)
        return {"view": shown}

    def _views_publish(self, arguments: Json) -> Json:
        view = arguments.get("view") or {}
        if view.get("type") != "home":
            raise Said("invalid_arguments")
        if error := refused_view(view):
            raise Said(error)
        self.homes[str(arguments.get("user_id"))] = view
        return {"view": view}

    # people, files, links

    def _users_info(self, arguments: Json) -> Json:
        known = self.people.get(str(arguments.get("user")))
        if known is None:
            raise Said("user_not_found")
        shown = dict(known)
        if str(arguments.get("include_locale")).lower() not in ("1", "true"):
            shown.pop("locale", None)
        return {"user": shown}

    def _users_lookupByEmail(self, arguments: Json) -> Json:
        for known in self.people.values():
            if known["profile"]["email"] == arguments.get("email"):
                return {"user": known}
        raise Said("users_not_found")

    def _files_info(self, arguments: Json) -> Json:
        known = self.files.get(str(arguments.get("file")))
        if known is None:
            raise Said("file_not_found")
        return {"file": {key: value for key, value in known.items() if key != "content"}}

    def _chat_unfurl(self, arguments: Json) -> Json:
        if not (arguments.get("channel") and arguments.get("ts")) and not (
            arguments.get("unfurl_id") and arguments.get("source")
        ):
            raise Said("cannot_unfurl_message")
        for unfurl in (arguments.get("unfurls") or {}).values():
            if error := refused_blocks(unfurl.get("blocks") or []):
                raise Said(error)
        self.unfurls.append(arguments)
        return {}

    def _blocks_validate(self, arguments: Json) -> Json:
        if error := refused_blocks(arguments.get("blocks") or []):
            raise Said(error)
        return {}

    def _reactions_add(self, _arguments: Json) -> Json:
        return {}

    def _channel(self, arguments: Json, not_member: str) -> Channel:
        channel = self.channels.get(str(arguments.get("channel")))
        if channel is None:
            raise Said("channel_not_found")
        if not channel.member:
            raise Said(not_member)
        return channel


def person(user: str, name: str, email: str, locale: str = "en-GB", admin: bool = False) -> Json:
    profile = {"display_name": name, "real_name": f"{name} Example", "email": email}
    return {"id": user, "name": name.lower(), "locale": locale, "is_admin": admin, "profile": profile}


def _within(message: Json, arguments: Json) -> bool:
    ts, inclusive = float(message["ts"]), str(arguments.get("inclusive")).lower() in ("1", "true")
    oldest, latest = float(arguments.get("oldest") or 0), float(arguments.get("latest") or "inf")
    return oldest <= ts <= latest if inclusive else oldest < ts < latest
