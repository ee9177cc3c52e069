"""A question that was deleted takes its answer with it."""

from __future__ import annotations

import uuid
from typing import Any

from assistant.database import answers
from assistant.database.inbox import Event
from bot.inbox import Claim
from bot.slack.errors import GONE, Refused
from bot.slack.events import Message
from bot.slack.lookup import Posted, nameless, parts_of
from bot.slack.stream import Writer
from bot.slack.workplace import Workplace


async def nothing(_place: Workplace, _event: Event, _claim: Claim) -> dict[str, Any]:
    """A job: for a message that was deleted before it came, there is nothing to do."""
    return {}


async def take_away(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: stop what is still written, delete what was sent, and leave the answer out of the history."""
    message = Message.from_payload({**event.payload, "kind": "message"})
    turn = await place.turn(message.key)
    try:
        return await _take_away(place, message, event, claim)
    finally:
        turn.release()


async def _take_away(place: Workplace, message: Message, event: Event, claim: Claim) -> dict[str, Any]:
    reply = await place.inbox.reply_of(message.key)
    sent = dict(reply.sent or {}) if reply else {}
    found: dict[int, Posted] = {}
    writer = Writer(place.api, message, claim, place.streaming, event.event_id, sent)
    try:
        found = await parts_of(place.api, message, lambda it: it.get("asked") == message.ts)
        known = [item.ts for item in writer.shown]
        writer.add(posted.ts for posted in found.values() if posted.ts not in known)
        if sent.get("starting"):
            orphan = await nameless(place.api, message, known, place.streaming.messages, place.inbox)
            writer.add([orphan.ts] if orphan else [])
        await writer.remove_all()
    except Refused as error:
        if error.code not in GONE:
            raise
    finally:
        writer.forget()
    withdrawn = {posted.answer_id for posted in found.values()} | {str(reply.answer_id) if reply else ""}
    async with place.services.sessions.begin() as session:
        for answer_id in withdrawn - {"", "None"}:
            await answers.withdraw(session, uuid.UUID(answer_id))
    return {"channel": message.channel, "deleted": True}
