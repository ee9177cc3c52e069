"""Approvals on Slack: cards below answers and with those who may decide, clicks on them, and what they then show."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from assistant.answering.messages import Answer
from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.database.inbox import Event
from assistant.errors import NotFound
from assistant.strings import say
from assistant.tools.rights import Refusal, principals_of
from bot import approvals as shared
from bot.inbox import Claim
from bot.slack.approval_card import APPROVE, card
from bot.slack.errors import GONE, Refused
from bot.slack.events import PLATFORM, Message
from bot.slack.lookup import parts_of
from bot.slack.respond import Responder
from bot.slack.workplace import Workplace

log = structlog.get_logger()

NO_MESSAGE = GONE | {"message_not_found", "cant_update_message", "edit_window_closed"}


async def store_click(place: Workplace, name: str, value: str, message: Message, body: Mapping[str, Any]) -> None:
    """Keep a click on a card; when this returns, it is acknowledged. One click is one event, however often it comes."""
    action = (body.get("actions") or [{}])[0]
    verb = "approve" if name == APPROVE else "deny"
    key = f"approval:{value.partition(':')[0][:40]}:{verb}:{message.user}:{action.get('action_ts') or message.ts}"
    payload = replace(message, kind="approval", text=verb, replaces=value[:200]).payload()
    ephemeral = bool((body.get("container") or {}).get("is_ephemeral"))
    await place.inbox.store(key, key, {**payload, "ephemeral": ephemeral, "at": time.time()})


async def decide(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: take the decision, make the call, and show both; who may not is told so alone."""
    from bot.slack.commands import caller_of  # which shows cards, too

    message = Message.from_payload(event.payload)
    number, _, seen = message.replaces.partition(":")
    caller, who = await caller_of(place, message), await place.people.get(message.team, message.user)
    principals = await principals_of(place.services.sessions, caller.audience, caller.admin)
    approve = message.text == "approve"
    await claim.check()
    try:
        ended = await place.services.approvals.decide(
            uuid.UUID(number), message.asker, principals, approve, seen, name=who.name, platform=PLATFORM
        )
    except Refusal as error:
        await Responder(place, message).say(error.sentence(caller.language))
        return {"channel": message.channel, "refused": error.key}
    except (NotFound, ValueError):
        await Responder(place, message).say(say("approvals.no_such", caller.language, number=number[:8]))
        return {"channel": message.channel}
    await refresh(place, ended)
    if event.payload.get("ephemeral"):  # a copy that only its reader sees
        responder = Responder(place, message, began=event.payload.get("at"))
        await responder.say(card(ended, caller.language), replace=True)
        return {"channel": message.channel, "state": ended.state}
    if closed := shared.closed(ended, message.asker, approve, caller.language):
        await Responder(place, message).say(closed)
    return {"channel": message.channel, "state": ended.state}


async def show(place: Workplace, message: Message, event: Event, answer: Answer, claim: Claim) -> None:
    """Put a card for each call that an answer waits for below it, or with its asker; and with those who may decide."""
    for pending in answer.approvals:
        approval = await place.services.approvals.get(pending.id)
        if approval is not None:
            private = answer.private or message.kind == "ask"
            await show_one(place, message, event, approval, claim, private)


async def show_one(
    place: Workplace, message: Message, event: Event, approval: Approval, claim: Claim, private: bool
) -> None:
    if private and not message.direct:
        await _to(place, message.user, approval, event, claim)
    else:
        await _post(place, message, approval, event, claim)
    if approval.state == "waiting":
        for user in shared.deciders(place.services, approval, f"{PLATFORM}:{message.team}:", message.user):
            await _to(place, user, approval, event, claim)


async def _to(place: Workplace, user: str, approval: Approval, event: Event, claim: Claim) -> None:
    """The card in somebody's direct messages; one who cannot be written to is left out."""
    try:
        channel = await place.api.open_direct(user)
        since = f"{time.time() - 3_600:.6f}"
        there = Message("", channel, user, since, since, "", True, False)
        await _post(place, there, approval, event, claim, thread="")
    except Refused as error:
        log.warning("slack.approver_not_told", code=error.code)


async def _post(
    place: Workplace, message: Message, approval: Approval, event: Event, claim: Claim, thread: str | None = None
) -> None:
    """Once for each place: one that an earlier attempt has sent is found by what it carries."""
    if any(kept.get("platform") == PLATFORM and kept.get("channel") == message.channel for kept in approval.cards):
        return
    number, ts, state = str(approval.id), "", ""  # what an earlier attempt has sent may show another state
    if event.attempts > 1:
        found = await parts_of(place.api, message, lambda it: it.get("approval") == number)
        ts = found[0].ts if found else ""
    if not ts:
        where = message.thread if thread is None else thread
        meta = {"approval": number, "part": 0}
        part = card(approval, approval.language)
        ts, state = await place.api.post(message.channel, where or None, part, meta, claim.check), approval.state
    await _keep(place, approval, message.channel, ts, state)


async def refresh(place: Workplace, approval: Approval) -> None:
    """Let every card of the approval show how it stands now."""

    async def update(now: Approval, kept: Mapping[str, Any]) -> None:
        channel, ts, meta = str(kept["channel"]), str(kept["ts"]), {"approval": str(now.id), "part": 0}
        try:
            await place.api.update(channel, ts, card(now, now.language), meta)
        except Refused as error:  # asked again, Slack would say the same
            log.log(logging.INFO if error.code in NO_MESSAGE else logging.ERROR, "slack.card_left", code=error.code)
        await _keep(place, now, channel, ts, now.state)

    await shared.refresh(place.services, PLATFORM, approval, update)


async def _keep(place: Workplace, approval: Approval, channel: str, ts: str, state: str) -> None:
    kept = {"platform": PLATFORM, "channel": channel, "ts": ts, "state": state}
    async with place.services.sessions.begin() as session:
        await rows.keep_card(session, approval.id, kept)
