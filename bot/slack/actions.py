"""Buttons: each is either stored and done in its turn, or, where losing it costs one more click, done at once."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from assistant.answering import citations
from assistant.database import answers, groups
from assistant.database.answers import Stored
from assistant.database.inbox import Event
from assistant.strings import say
from bot.inbox import Claim
from bot.slack import approval_card, approvals, blocks, commands, home, modals, tool_form, votes
from bot.slack.clean import escape, harmless
from bot.slack.errors import Refused
from bot.slack.events import Message, channel_audience
from bot.slack.lookup import Posted, parts_of
from bot.slack.render import (
    ADD_FILE,
    FEEDBACK,
    OUTSIDERS,
    PERSON,
    REGENERATE,
    SHARE,
    SOURCES,
    Look,
    Part,
    answer_parts,
)
from bot.slack.respond import Responder
from bot.slack.sources import shortened
from bot.slack.workplace import Workplace

log = structlog.get_logger()

_USER = re.compile(r"[UW][A-Z0-9]{5,}")
_GROUP = re.compile(r"S[A-Z0-9]{5,}")
_MAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[a-z]{2,}", re.IGNORECASE)


def click_of(body: Mapping[str, Any]) -> Message:
    """Who clicked, and where."""
    container, user = body.get("container") or {}, body.get("user") or {}
    team = str((body.get("team") or {}).get("id") or user.get("team_id") or "")
    channel = str((body.get("channel") or {}).get("id") or container.get("channel_id") or "")
    ts = str(container.get("message_ts") or (body.get("message") or {}).get("ts") or "")
    thread = str(container.get("thread_ts") or (body.get("message") or {}).get("thread_ts") or "")
    return Message(
        team=team, channel=channel, user=str(user.get("id") or ""), ts=ts, thread=thread, text="",
        direct=channel.startswith("D"), outsiders=bool(user.get("team_id")) and user.get("team_id") != team,
        reply_url=str(body.get("response_url") or ""),
    )  # fmt: skip


async def acted(place: Workplace, body: Mapping[str, Any]) -> None:
    """A click on one of our buttons; when this returns, it is acknowledged."""
    action = (body.get("actions") or [{}])[0]
    name, value = str(action.get("action_id") or "").partition(":")[0], str(action.get("value") or "")
    message, trigger = click_of(body), str(body.get("trigger_id") or "")
    if name == FEEDBACK:
        await votes.voted(place, body, message)
    elif name in (REGENERATE, PERSON, SHARE):
        await _store_answered(place, name, value, message)
    elif name in (approval_card.APPROVE, approval_card.DENY):
        await approvals.store_click(place, name, value, message, body)
    elif name == ADD_FILE:
        await _store_file(place, value, message, body)
    elif name == commands.CONFIRM:
        payload = {**replace(message, kind="command", text=value).payload(), "confirmed": True, "trigger": trigger}
        key = f"command:{message.channel}:{message.ts}:{action.get('action_ts')}"
        await place.inbox.store(key, key, {**payload, "at": time.time()})
    elif name == commands.CANCEL:
        place.spawn(_cancelled(place, message), "slack-cancelled")
    elif name == commands.OPEN_SETTINGS:
        place.spawn(_settings(place, message, trigger), "slack-settings")
    elif name == tool_form.OPEN:
        place.spawn(commands.open_form(place, message, value, trigger), "slack-tool")
    elif name == SOURCES:
        place.spawn(_show_sources(place, message, value, trigger), "slack-sources")
    elif name == home.REFRESH:
        place.spawn(home.publish(place, message.team, message.user), "slack-home")


async def _store_answered(place: Workplace, name: str, value: str, message: Message) -> None:
    """One regeneration, one call for a person, one sharing for each answer, however often it is clicked."""
    answer_id = value.removesuffix(OUTSIDERS)
    stored = await _stored(place, answer_id)
    if stored is None:
        place.spawn(_say(place, message, "slack.vote_unknown"), "slack-gone")
        return
    message = replace(message, outsiders=message.outsiders or value.endswith(OUTSIDERS), replaces=answer_id)
    if name == REGENERATE:
        thread = _thread_of(stored, message)
        asked = replace(message, kind="regenerate", text=stored.question, thread=thread)
        key, payload = f"regenerate:{answer_id}", {**asked.payload(), "container": message.ts}
    else:
        kind = "person" if name == PERSON else "share"
        key, payload = f"{kind}:{answer_id}", replace(message, kind=kind).payload()
    new = await place.inbox.store(key, key, payload)
    if not new and name == PERSON:
        place.spawn(_say(place, message, "slack.person_again", stored.answer.language), "slack-again")


async def _store_file(place: Workplace, file_id: str, message: Message, body: Mapping[str, Any]) -> None:
    posted = body.get("message") or {}
    thread = message.thread or message.ts
    added = replace(message, kind="files", thread=thread, files=((file_id, file_id),))
    key = f"file:{message.channel}:{file_id}:{posted.get('ts') or message.ts}"
    await place.inbox.store(key, key, added.payload())


async def _stored(place: Workplace, answer_id: str) -> Stored | None:
    try:
        identity = uuid.UUID(answer_id)
    except ValueError:
        return None
    async with asyncio.timeout(votes.STORE_SECONDS), place.services.sessions() as session:
        return await answers.by_id(session, identity)


def _thread_of(stored: Stored, message: Message) -> str:
    """The thread that the answer stands in."""
    start = f"{message.team}:{message.channel}:"
    thread = stored.conversation.removeprefix(start)
    return thread if stored.conversation.startswith(start) and ":" not in thread else message.thread or message.ts


async def _say(place: Workplace, message: Message, key: str, language: str | None = None) -> None:
    await Responder(place, message).say(say(key, language or await place.language(message)))


async def _cancelled(place: Workplace, message: Message) -> None:
    await Responder(place, message).say(say("slack.cancelled", await place.language(message)), replace=True)


async def _settings(place: Workplace, message: Message, trigger: str) -> None:
    view = await modals.settings_view(place, message, await place.language(message))
    await place.api.open_view(trigger, view)


async def _show_sources(place: Workplace, message: Message, value: str, trigger: str) -> None:
    """The sources as they are now: what was removed since, or may no longer be read, is left out."""
    stored = await _stored(place, value.removesuffix(OUTSIDERS))
    if stored is None:
        await _say(place, message, "slack.vote_unknown")
        return
    outsiders = message.outsiders or value.endswith(OUTSIDERS)
    audience = await place.people.audience(message.team, message.user, outsiders)
    if message.channel and not message.direct:
        channel = channel_audience(message.team, message.channel, outsiders)
        audience = type(audience)(audience.principals | channel.principals)
    async with place.services.sessions() as session:
        audience = await groups.with_groups(session, audience)
        alive = await citations.living(session, stored.answer.citations, audience)
    await place.api.open_view(trigger, modals.sources_view(stored, alive, stored.answer.language))


# jobs


async def ask_person(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: call whom the channel names, else the owner of the first source, into the thread."""
    message = Message.from_payload(event.payload)
    stored = await _stored(place, message.replaces)
    if stored is None:
        return {}
    language = stored.answer.language
    who, title = await _expert(place, message, stored)
    if not who:
        await _say(place, message, "slack.person_none", language)
        return {"channel": message.channel}
    meta = {"event_id": event.event_id, "part": 0}
    if event.attempts > 1 and await parts_of(place.api, message, lambda it: _is_of(it, event)):
        return {"channel": message.channel}
    asker = (await place.people.get(message.team, message.user)).name or say("slack.somebody", language)
    key = "slack.person_asks_owner" if title else "slack.person_asks"
    text = say(key, language, person=who, asker=escape(harmless(asker)), title=escape(harmless(title)))
    question = escape(harmless(shortened(stored.question, 1_000)))
    part = Part("", (blocks.section(f"{text}\n>{question}"),), f"{text}\n>{question}")
    thread = _thread_of(stored, message)
    await place.api.post(message.channel, thread, part, meta, claim.check)
    return {"channel": message.channel}


async def _expert(place: Workplace, message: Message, stored: Stored) -> tuple[str, str]:
    """Whom to call, as mrkdwn, and the document that names them as its owner."""
    expert = (await place.settings(message)).expert
    if _GROUP.fullmatch(expert):
        return f"<!subteam^{expert}>", ""
    if _USER.fullmatch(expert):
        return f"<@{expert}>", ""
    for citation in (*stored.answer.citations, *stored.answer.nearest):
        owner = (citation.owner or "").strip()
        if _USER.fullmatch(owner):
            return f"<@{owner}>", citation.title
        if _MAIL.fullmatch(owner):
            return await _by_mail(place, owner), citation.title
        if owner:
            return escape(harmless(owner)), citation.title
    return "", ""


async def _by_mail(place: Workplace, address: str) -> str:
    try:
        user = await place.api.user_by_email(address)
    except Refused as error:
        log.info("slack.owner_unknown", code=error.code)
        user = ""
    return f"<@{user}>" if user else escape(address)


async def share(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: show a private answer to the channel, because its asker said so."""
    message = Message.from_payload(event.payload)
    stored = await _stored(place, message.replaces)
    if stored is None:
        return {}
    language = stored.answer.language
    if stored.asker != message.asker:
        await _say(place, message, "slack.share_not_yours", language)
        return {"channel": message.channel}
    found = {} if event.attempts == 1 else await parts_of(place.api, message, lambda it: _is_of(it, event))
    await _post_shared(place, message, stored, event, claim, found)
    await Responder(place, message).say(say("slack.shared", language), replace=True)
    return {"channel": message.channel}


def _is_of(payload: Mapping[str, Any], event: Event) -> bool:
    return payload.get("event_id") == event.event_id


async def _post_shared(
    place: Workplace, message: Message, stored: Stored, event: Event, claim: Claim, found: Mapping[int, Posted]
) -> None:
    """``found``: what an earlier attempt has posted, by its place."""
    language = stored.answer.language
    name = (await place.people.get(message.team, message.user)).name or say("slack.somebody", language)
    answer = replace(stored.answer, private=False)
    parts = answer_parts(answer, Look(sources=(await place.settings(message)).show_sources))
    note = say("slack.shared_by", language, person=escape(harmless(name)))
    question = escape(harmless(shortened(stored.question, 500)))
    intro = Part("", (blocks.context(f"{note}\n>{question}"),), f"{note}\n>{question}")
    thread = _thread_of(stored, message)
    thread = thread if thread.replace(".", "").isdigit() and thread != message.ts else ""
    for number, part in enumerate([intro, *parts]):
        if number in found:
            continue
        meta = {"event_id": event.event_id, "answer_id": str(answer.id), "part": number}
        await place.api.post(message.channel, thread or None, part, meta, claim.check)
