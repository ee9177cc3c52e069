"""Questions that change: edited, asked again, taken back. Their answer changes in place, or goes."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from assistant.database import answers
from assistant.database import inbox as inbox_rows
from assistant.services import Services
from bot.inbox import Claim
from bot.teams.events import Incoming
from bot.teams.outbox import Borrowed, Ledger, Outbox
from bot.teams.port import Connector
from bot.teams.private import private_place

PLATFORM = "teams"
SETTLE_LOOKS, SETTLE_SECONDS = 6, 0.15  # how long a message that was just taken back may still be sending


class Changes:
    """The reply that is stored with a question's own event knows its messages, whichever change they are of."""

    def __init__(self, connector: Connector, services: Services) -> None:
        self._connector = connector
        self._services = services

    async def carry(self, incoming: Incoming, ledger: Ledger) -> inbox_rows.Reply | None:
        """Take over the messages of a question that is changed or asked again: its answer changes in place."""
        if not incoming.of:
            return None
        if incoming.kind != "edit":
            async with self._services.sessions() as session:
                original = await inbox_rows.reply_of(session, PLATFORM, incoming.of)
            base = (original.sent if original else None) or {}
        else:
            async with self._services.sessions.begin() as session:  # nothing more may be said to what was asked first
                await inbox_rows.cancel(session, PLATFORM, incoming.of)
            original = await self._settled(incoming.of)
            base = await self._edited_before(original, incoming)
        if not ledger.data and base:
            ledger.data.update(_reopened(base))
        return original

    async def _edited_before(self, original: inbox_rows.Reply | None, incoming: Incoming) -> dict[str, Any]:
        """What was sent for the question so far, also by an earlier edit that was itself stopped; marks the newest."""
        if original is None:
            return {}
        sent = original.sent or {}
        newest = str(sent.get("newest") or "")
        before = await self._settled(newest) if newest and newest != incoming.key else None
        async with self._services.sessions.begin() as session:
            marked = {**sent, "newest": max(newest, incoming.key)}
            await inbox_rows.remember_reply(session, original.event_id, marked)
        return before.sent if before is not None and before.sent and before.sent.get("activity_id") else sent

    async def superseded(self, incoming: Incoming) -> bool:
        if incoming.kind != "edit":
            return False
        async with self._services.sessions() as session:
            original = await inbox_rows.reply_of(session, PLATFORM, incoming.of)
        return original is not None and str((original.sent or {}).get("newest") or "") > incoming.key

    async def hand_back(self, original: inbox_rows.Reply, incoming: Incoming, ledger: Ledger) -> None:
        """The question's event knows its messages and its answer, whichever change they are of."""
        if await self.superseded(incoming):
            return
        async with self._services.sessions.begin() as session:
            newest = incoming.key if incoming.kind == "edit" else (original.sent or {}).get("newest", "")
            await inbox_rows.remember_reply(session, original.event_id, {**ledger.reply(), "newest": newest})

    async def take_back(self, incoming: Incoming, claim: Claim, language: str) -> None:
        """The question was deleted: its answer goes, from the conversation and from its history."""
        async with self._services.sessions.begin() as session:
            await inbox_rows.cancel(session, PLATFORM, incoming.of)
        original = await self._settled(incoming.of)
        if original is None or not original.sent:
            return
        sent = original.sent
        edited = await self._settled(str(sent.get("newest") or ""))
        replies: list[dict[str, Any]] = [sent, *([edited.sent] if edited is not None and edited.sent else ())]
        for reply in replies:
            private = reply.get("private") or {}
            for place, kept in ((incoming.place, reply), (private_place(incoming.place, private), private)):
                await Outbox(self._connector, place, Borrowed(claim, kept), language).delete()
        if answer_id := sent.get("answer") or original.answer_id:
            async with self._services.sessions.begin() as session:
                await answers.withdraw(session, uuid.UUID(str(answer_id)))

    async def _settled(self, key: str) -> inbox_rows.Reply | None:
        """The question's reply, once what was being sent for it has been stored."""
        for _ in range(SETTLE_LOOKS):
            async with self._services.sessions() as session:
                original = await inbox_rows.reply_of(session, PLATFORM, key)
            shown = original is not None and (original.sent or {}).get("activity_id")
            if original is None or shown or original.state != "cancelled":
                return original
            await asyncio.sleep(SETTLE_SECONDS)
        return original


def _reopened(sent: dict[str, Any]) -> dict[str, Any]:
    """A stored reply whose messages are to be put anew; a stream that was closed is a message like another."""
    kept: dict[str, Any] = {name: sent[name] for name in ("activity_id", "parts") if name in sent}
    if sent.get("stream") and sent.get("activity_id") not in sent.get("final", ()):
        kept["stream"] = True
    if private := sent.get("private"):
        kept["private"] = {name: value for name, value in private.items() if name != "final"}
    return kept
