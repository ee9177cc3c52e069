"""Modals that were sent, and shortcuts: read, checked, and stored before Slack is told."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering.messages import Vote
from assistant.database.inbox import Event, storable
from assistant.strings import DEFAULT, known, say
from bot.inbox import Claim
from bot.slack import commands, modals, tool_form, votes
from bot.slack.actions import click_of
from bot.slack.clean import escape, harmless
from bot.slack.events import PLATFORM, Message, files_of, said
from bot.slack.lookup import parts_of
from bot.slack.render import plain_part
from bot.slack.respond import Responder
from bot.slack.workplace import Workplace, place_of

log = structlog.get_logger()

ASK_ABOUT, ADD_FILES, ASK_ANYWHERE = "ask_about_message", "add_files_of_message", "ask_anywhere"

Answer = dict[str, Any]  # what the acknowledgement tells Slack to do with the view; empty: close it


async def submitted(place: Workplace, body: Mapping[str, Any]) -> Answer:
    view, user = body.get("view") or {}, body.get("user") or {}
    state = storable((view.get("state") or {}).get("values") or {})
    metadata = _metadata(view)
    # Ours, where somebody of another company sends a modal: the body's ``team`` is then theirs.
    ours = view.get("app_installed_team_id") or metadata.get("team")
    team = str(ours or (body.get("team") or {}).get("id") or user.get("team_id") or "")
    message = Message(
        team, str(metadata.get("channel") or ""), str(user.get("id") or ""), "", "", "",
        bool(metadata.get("direct")), False,
    )  # fmt: skip
    language = known(str(metadata.get("language") or "")) or DEFAULT
    handler = {
        modals.SETTINGS: _settings, modals.REASON: _reason, modals.ASK: _question, modals.UPLOAD: _upload,
        tool_form.TOOL: tool_form.submitted,
    }.get(str(view.get("callback_id")))  # fmt: skip
    return await handler(place, message, state, metadata, language, str(view.get("id"))) if handler else {}


async def _settings(
    place: Workplace, message: Message, state: modals.State, _metadata: Mapping[str, Any], language: str, _id: str
) -> Answer:
    entered = modals.settings_entered(state, language)
    if isinstance(entered, dict):
        return {"response_action": "errors", "errors": entered}
    try:
        async with asyncio.timeout(votes.STORE_SECONDS):
            await place.services.channels.change(PLATFORM, place_of(message), entered, message.asker)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("slack.settings_not_stored", error=type(error).__name__)
        return {"response_action": "errors", "errors": {"answer": say("slack.settings_not_stored", language)}}
    place.spawn(Responder(place, message).say(say("slack.settings_saved", language)), "slack-settings")
    return {}


async def _reason(
    place: Workplace, message: Message, state: modals.State, metadata: Mapping[str, Any], language: str, _id: str
) -> Answer:
    try:
        answer_id = uuid.UUID(str(metadata.get("answer")))
    except ValueError:
        return {}
    vote = Vote(answer_id, message.asker, -1, modals.reason_entered(state) or None)
    counted, text = await votes.count(place, vote, language)
    if not counted:
        return {"response_action": "errors", "errors": {"reason": text}}
    thanks = say("slack.reason_thanks", language)
    return {
        "response_action": "update",
        "view": modals.note_view(say("slack.reason_title", language), thanks, language),
    }


async def _question(
    place: Workplace, message: Message, state: modals.State, _metadata: Mapping[str, Any], language: str, view_id: str
) -> Answer:
    text, limit = modals.question_entered(state), place.services.settings.question_max_chars
    if not text:
        return {"response_action": "errors", "errors": {"question": say("slack.ask_empty", language)}}
    if len(text) > limit:
        wrong = say("common.too_long", language, length=f"{len(text):,}", limit=f"{limit:,}")
        return {"response_action": "errors", "errors": {"question": wrong}}
    key = f"asked:{view_id}"
    await place.inbox.store(key, key, replace(message, kind="direct", text=text).payload())
    note = say("slack.ask_sent", language)
    return {"response_action": "update", "view": modals.note_view(say("slack.ask_title", language), note, language)}


async def _upload(
    place: Workplace, message: Message, state: modals.State, _metadata: Mapping[str, Any], language: str, view_id: str
) -> Answer:
    files = files_of({"files": modals.files_entered(state)})
    if not files:
        return {"response_action": "errors", "errors": {"files": say("slack.file_none", language)}}
    key = f"upload:{view_id}"
    await place.inbox.store(key, key, replace(message, kind="files", files=files).payload())
    return {}


async def open_direct(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: put a question from anywhere into the asker's direct messages, where it is answered as any other."""
    message = Message.from_payload(event.payload)
    sent = event.reply or {}
    channel = str(sent.get("channel") or await place.api.open_direct(message.user))
    ts = str(sent.get("ts") or "")
    if not ts:
        asked = escape(harmless(message.text)).replace("\n", "\n> ")
        meta = {"event_id": event.event_id, "part": 0}
        found = {}
        if event.attempts > 1:
            since = replace(message, channel=channel, ts=_since(event), thread=_since(event))
            found = await parts_of(place.api, since, lambda it: it.get("event_id") == event.event_id)
        part = plain_part(f"> {asked}")
        ts = found[0].ts if found else await place.api.post(channel, None, part, meta, claim.check)
        await claim.remember({"channel": channel, "ts": ts})
    question = replace(message, kind="message", channel=channel, ts=ts, thread=ts, direct=True)
    await place.inbox.store(f"{event.event_id}:question", question.key, question.payload())
    return {"channel": channel, "ts": ts}


def _since(event: Event) -> str:
    """Before the event was made."""
    return f"{time.time() - 3_600:.6f}"


async def shortcut(place: Workplace, body: Mapping[str, Any]) -> None:
    """A message's or the global shortcut; when this returns, it is acknowledged."""
    callback, trigger = str(body.get("callback_id") or ""), str(body.get("trigger_id") or "")
    message = click_of({**body, "container": {}})
    if callback == ASK_ANYWHERE:
        who = await place.people.get(message.team, message.user)
        place.spawn(place.api.open_view(trigger, modals.ask_view(known(who.locale) or DEFAULT)), "slack-ask")
        return
    posted = body.get("message") or {}
    key = f"{callback}:{message.channel}:{posted.get('ts')}:{body.get('action_ts') or trigger}"
    if callback == ASK_ABOUT:
        text = said(posted, None)
        if text:
            await commands.ask_privately(place, replace(message, thread=message.thread or message.ts), text, key)
        else:
            place.spawn(_tell(place, message, "slack.message_empty"), "slack-empty")
    elif callback == ADD_FILES:
        files = files_of(posted)
        if files:
            thread = message.thread or message.ts
            added = replace(message, kind="files", thread=thread, files=files)
            await place.inbox.store(key, key, added.payload())
        else:
            place.spawn(_tell(place, message, "slack.file_none"), "slack-no-file")


async def _tell(place: Workplace, message: Message, key: str) -> None:
    await Responder(place, message).say(say(key, await place.language(message)))


def _metadata(view: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(view.get("private_metadata") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
