"""Which of Slack's events are for us, and how each is stored. When one returns, its event is acknowledged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from assistant.answering.unprompted import asks_something
from assistant.database import answers
from assistant.strings import catalogue
from bot.slack import home
from bot.slack.events import PLATFORM, Message, bot_user, later, mentions, speaks_to_another
from bot.slack.files import wants_adding
from bot.slack.unfurl import unfurl_payload
from bot.slack.workplace import Workplace

log = structlog.get_logger()

IGNORED, STORED, DUPLICATE, DONE = "ignored", "stored", "duplicate", "done"
EDITS_KEPT = 10_000
GOING_ON_WORDS = 10

_WORDS = re.compile(r"[\w']+")


async def received(place: Workplace, body: Mapping[str, Any]) -> str:
    """What became of an event, as a metric's label."""
    event = body.get("event") or {}
    kind, subtype = event.get("type"), event.get("subtype")
    if kind in ("message", "app_mention"):
        if subtype == "message_changed":
            return await _edited(place, body, event)
        if subtype == "message_deleted":
            return await _deleted(place, body, str(event.get("deleted_ts") or ""))
        return await _written(place, body, event)
    if kind == "link_shared":
        payload = unfurl_payload(body)
        if payload is None:
            return IGNORED
        key = "unfurl:" + ":".join(payload["where"].values())
        return _fate(await place.inbox.store(str(body.get("event_id") or key), key, payload))
    if kind == "agent_session_stopped":
        return await _stopped(place, event)
    return _opened(place, body, event)


async def _written(place: Workplace, body: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    message = Message.from_event(body, event)
    if message is None:
        return IGNORED
    meant = await _for_us(place, message, event)
    if meant is None:
        return IGNORED
    event_id = str(body.get("event_id") or meant.key)
    return _fate(await place.inbox.store(event_id, meant.key, meant.payload()))


async def _for_us(place: Workplace, message: Message, event: Mapping[str, Any]) -> Message | None:
    """The message as it is to be worked on; None where people talk to each other."""
    bot = message.bot or None
    if message.direct or mentions(event, bot):
        if message.files and (wants_adding(message.text) or not message.text) and not _asks(message):
            return replace(message, kind="files") if message.text else message
        return message
    if speaks_to_another(event, bot) or not message.text:
        return None
    if message.thread != message.ts and await _takes_part(place, message):
        return message if _asks(message) or _goes_on(message.text) else None
    if asks_something(message.text) and (await place.settings(message)).answer == "sure":
        return replace(message, unprompted=True)
    return None


async def _takes_part(place: Workplace, message: Message) -> bool:
    async with place.services.sessions() as session:
        return await answers.takes_part(session, PLATFORM, message.conversation)


def _asks(message: Message) -> bool:
    return "?" in message.text or "？" in message.text or asks_something(message.text)


def _goes_on(text: str) -> bool:
    """Whether a short message goes on with the question before it: "and on staging"."""
    words = _WORDS.findall(text.casefold())
    begins = {phrase for texts in catalogue("slack").values() for phrase in texts["follow_up_phrases"].split("|")}
    opening = {" ".join(words[:count]) for count in (1, 2)}
    return 2 <= len(words) <= GOING_ON_WORDS and bool(opening & begins)


async def _edited(place: Workplace, body: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """A question that was changed is answered anew, in place; one that was deleted above replies loses its answer."""
    new, old = event.get("message") or {}, event.get("previous_message") or {}
    if new.get("subtype") == "tombstone":
        return await _deleted(place, body, str(new.get("ts") or ""))
    if new.get("text") == old.get("text"):
        return IGNORED  # a link unfolded, a reply came: nothing that was asked has changed
    inner = {**new, "type": "message", "channel": event.get("channel"), "channel_type": event.get("channel_type")}
    message = Message.from_event(body, inner)
    if message is None:
        return IGNORED
    if await place.inbox.reply_of(message.key) is None:
        return await _written(place, body, inner)
    stamp = str((new.get("edited") or {}).get("ts") or event.get("event_ts") or event.get("ts") or "")
    key = f"{message.key}:edit:{stamp}"
    stored = await place.inbox.store(
        str(body.get("event_id") or key), key, replace(message, kind="edit", files=(), edited=stamp).payload()
    )  # fmt: skip
    before = place.latest.get(message.key, message.key)
    comes_late = later(before.removeprefix(f"{message.key}:edit:"), stamp)  # and the newer one goes on
    if stored and not comes_late:
        place.latest[message.key] = key
        while len(place.latest) > EDITS_KEPT:
            del place.latest[next(iter(place.latest))]
        await place.inbox.cancel(before)
    return _fate(stored)


async def _deleted(place: Workplace, body: Mapping[str, Any], ts: str) -> str:
    """A question that was taken back is worked on no more, and its answer is taken away."""
    if not ts:
        return IGNORED
    event = body.get("event") or {}
    key = f"{body.get('team_id') or ''}:{event.get('channel')}:{ts}"
    reply = await place.inbox.reply_of(key)
    if reply is None:
        return await _never_asked(place, body, event, key)
    payload = {**reply.payload, "kind": "deleted"}
    stored = await place.inbox.store(str(body.get("event_id") or key), f"{key}:deleted", payload)
    await place.inbox.cancel(key)
    if newest := place.latest.get(key):
        await place.inbox.cancel(newest)
    return _fate(stored)


async def _never_asked(place: Workplace, body: Mapping[str, Any], event: Mapping[str, Any], key: str) -> str:
    """The deletion has come before the message: the message, when it comes, is found taken already."""
    written = event.get("previous_message") or {}
    direct = event.get("channel_type") == "im" or str(event.get("channel")).startswith("D")
    if written.get("bot_id") or not (direct or mentions(written, bot_user(body))):
        return IGNORED
    return _fate(await place.inbox.store(str(body.get("event_id") or key), key, {"kind": "nothing"}))


async def _stopped(place: Workplace, event: Mapping[str, Any]) -> str:
    """Somebody pressed Slack's Stop: what is being written in the thread ends with what it has."""
    channel, thread = str(event.get("channel") or ""), str(event.get("thread_ts") or "")
    place.stop(channel, thread)
    place.spawn(place.api.session_active(channel, thread), "slack-session")
    return DONE


def _opened(place: Workplace, body: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """A view was opened: nothing to store, since whoever opens it again sees it again."""
    team, user = str(body.get("team_id") or ""), str(event.get("user") or "")
    if event.get("type") == "app_home_opened" and user:
        if event.get("tab") == "messages":
            place.spawn(home.suggest(place, team, user, str(event.get("channel") or "")), "slack-prompts")
        else:
            place.spawn(home.publish(place, team, user), "slack-home")
        return DONE
    if event.get("type") == "assistant_thread_started":  # of apps made before the agent's view
        thread = event.get("assistant_thread") or {}
        where = str(thread.get("channel_id") or ""), str(thread.get("thread_ts") or "")
        place.spawn(home.suggest(place, team, str(thread.get("user_id") or ""), *where), "slack-prompts")
        return DONE
    return IGNORED


def _fate(new: bool) -> str:
    return STORED if new else DUPLICATE
