"""Messages in a group for the eyes of one person: targeted where Teams has that, else in the personal chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import structlog

from bot.teams.events import Incoming
from bot.teams.live import BUSY
from bot.teams.outbox import Ledger, Outbox, targeted
from bot.teams.port import Connector, Message, Place, Refused

log = structlog.get_logger()

SECTION = "private"
Way = Literal["", "_chat", "_refused"]  # targeted, in the personal chat, not at all


async def show_privately(
    connector: Connector, incoming: Incoming, ledger: Ledger, messages: Sequence[Message], language: str
) -> Way:
    """Show the messages to the asker alone; which way that went is stored, so that a later attempt takes the same."""
    kept = ledger.section(SECTION)
    if kept.get("way", "") == "":
        try:
            await Outbox(connector, targeted(incoming.place), ledger, language, section=SECTION).all(messages)
        except Refused as error:
            if error.status in BUSY or kept.get("activity_id"):
                raise
            log.info("teams.not_targeted", status=error.status, code=error.code)
        else:
            return ""
    try:
        place = await _chat(connector, incoming.place, ledger)
        box = Outbox(connector, place, ledger, language, section=SECTION)
        await box.all([replace(message, channel_data={}) for message in messages])  # a vote there names no answer
    except Refused as error:
        if error.status in BUSY:
            raise
        log.info("teams.no_personal_chat", status=error.status, code=error.code)
        return "_refused"
    return "_chat"


def private_place(place: Place, kept: dict[str, str]) -> Place:
    """Where the private messages of a stored reply are."""
    if kept.get("way") == "chat":
        return replace(place, conversation=kept.get("conversation", place.conversation), personal=True)
    return targeted(place)


async def _chat(connector: Connector, place: Place, ledger: Ledger) -> Place:
    kept = ledger.section(SECTION)
    if kept.get("way") != "chat":
        kept.update(way="chat", conversation=await connector.open_chat(place))
        await ledger.save()
    return private_place(place, kept)
