"""Activities that were let in: what needs work is stored for the inbox, votes and settings are kept at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from assistant.answering.messages import Vote
from assistant.answering.unprompted import asks_something
from assistant.database import answers
from assistant.database import inbox as inbox_rows
from assistant.services import Services
from bot.inbox import Inbox
from bot.teams import events
from bot.teams.approval_card import APPROVE, DENY
from bot.teams.approvals import ApprovalDesk
from bot.teams.deliver import PLATFORM
from bot.teams.invokes import Invokes
from bot.teams.people import stored_answer
from bot.teams.port import Connector
from bot.teams.tool_form import TOOL

log = structlog.get_logger()

KEPT = 1_000
STARTS_WORK = frozenset({"regenerate", "person", "share", "command", "files", APPROVE, DENY, TOOL})


class TeamsReceiver:
    """One method for each kind of activity; see ``bot.teams.adapter.Receiver``."""

    def __init__(self, inbox: Inbox, services: Services, connector: Connector, approvals: ApprovalDesk) -> None:
        self._inbox = inbox
        self._services = services
        self._newest: dict[str, str] = {}  # message key -> key of its newest edit, of those that came here lately
        self._invokes = Invokes(services, connector, self.keep_vote, self.press, approvals)

    async def message(self, body: dict[str, Any]) -> None:
        if (pressed := events.action(body)) is not None:  # Action.Submit comes as a message
            await self.press(pressed)
            return
        incoming = events.message(body)
        if incoming is None:
            incoming = await self._overheard(events.overheard(body))
        await self._store(incoming)

    async def message_update(self, body: dict[str, Any]) -> None:
        """The question was changed: what was begun for it stops, and it is answered anew in the same place."""
        incoming = events.edit(body)
        original = None if incoming is None else await self._inbox.reply_of(incoming.of)
        if incoming is not None and original is None and events.message(body) is not None:
            original = await self._stands_for(incoming)
        elif original is None:
            self._count("ignored")
        if incoming is None or original is None:
            return
        if original.state != "cancelled" and await self._said(original) == incoming.text and not _undeleted(body):
            self._count("ignored")
            return
        replaces = (original.sent or {}).get("answer") or original.answer_id
        outsiders = incoming.outsiders or bool(original.payload.get("outsiders"))
        if await self._store(replace(incoming, replaces=str(replaces or ""), outsiders=outsiders)):
            await self._stop(incoming.of, original, incoming.key)

    async def message_delete(self, body: dict[str, Any]) -> None:
        """The question was taken back: what was begun for it stops, and its answer goes."""
        incoming = events.deletion(body)
        if incoming is None:
            self._count("ignored")
            return
        original = await self._inbox.reply_of(incoming.of) or await self._stands_for(incoming)
        if original is not None and await self._store(incoming):
            await self._stop(incoming.of, original)

    async def _stands_for(self, incoming: events.Incoming) -> inbox_rows.Reply | None:
        """Store a change whose message has not come (yet) in its place; the message, if it has come just now."""
        kind: events.Kind = "message" if incoming.kind == "edit" else incoming.kind
        first = replace(incoming, kind=kind, stamp="", of="" if kind == "message" else incoming.of)
        return None if await self._store(first) else await self._inbox.reply_of(incoming.of)

    async def conversation_update(self, body: dict[str, Any]) -> None:
        await self._store(events.welcome(body))

    async def installation_update(self, body: dict[str, Any]) -> None:
        """Installed: say hello. Removed: there is nobody to write to any more, and what is open fails by itself."""
        log.info("teams.installation", action=str(body.get("action"))[:20])
        await self._store(events.welcome(body))

    async def invoke(self, body: dict[str, Any]) -> tuple[int, Any]:
        return await self._invokes.answer(body)

    async def press(self, incoming: events.Incoming) -> bool:
        """Store a button whose work outlives the press; False for one that does nothing (any more)."""
        if incoming.verb not in STARTS_WORK:
            self._count("ignored")
            return False
        if incoming.verb == "regenerate":
            stored = await stored_answer(self._services, incoming.data.get("answer", ""))
            if stored is None:
                self._count("ignored")
                return False
            of, answer = incoming.data.get("of", ""), str(stored.answer.id)
            # once an answer, however often it is pressed: the new answer has a button of its own
            incoming = replace(incoming, text=stored.question, of=of, replaces=answer, activity_id=answer)
        elif incoming.verb in {"person", "share"}:
            incoming = replace(incoming, activity_id=incoming.data.get("answer", incoming.activity_id))
        await self._store(incoming)
        return True

    async def keep_vote(self, vote: events.Feedback) -> bool:
        """Keep the vote; one on a message that is no answer of ours has no effect."""
        async with self._services.sessions.begin() as session:
            answer_id = await answers.of_reply(session, PLATFORM, vote.conversation, vote.message_id)
            kept = answer_id is not None and await answers.save_vote(
                session, Vote(answer_id, vote.voter, vote.value, vote.reason)
            )
        if kept:
            self._services.metrics.votes.labels(PLATFORM, str(vote.value)).inc()
        else:
            log.warning("teams.vote_without_answer")
        self._count("vote" if kept else "ignored")
        return kept

    async def _overheard(self, incoming: events.Incoming | None) -> events.Incoming | None:
        """Something said among people: a follow-up in a thread of ours, or a question where we may answer unasked."""
        if incoming is None or not asks_something(incoming.text):
            return None
        settings = await self._services.channels.of(PLATFORM, incoming.channel)
        if settings.answer == "sure":
            return incoming
        reply = incoming.conversation != incoming.channel and not incoming.conversation.endswith(incoming.activity_id)
        if not reply:
            return None
        async with self._services.sessions() as session:
            ours = await answers.takes_part(session, PLATFORM, incoming.conversation)
        return replace(incoming, unprompted=False) if ours else None

    async def _said(self, original: inbox_rows.Reply) -> str:
        """The text that was answered last: of the newest edit, else of the message."""
        newest = (original.sent or {}).get("newest")
        changed = await self._inbox.reply_of(newest) if newest else None
        return str((changed or original).payload.get("text", ""))

    async def _stop(self, key: str, original: inbox_rows.Reply, change: str = "") -> None:
        """Stop what is under way for the message, up to this change; an edit that came earlier and is later stays."""
        await self._inbox.cancel(key)
        stored = str((original.sent or {}).get("newest") or "")
        for earlier in {stored, self._newest.get(key, "")} - {"", change}:
            if not change or earlier < change:
                await self._inbox.cancel(earlier)
        if change:
            self._newest[key] = max(change, self._newest.get(key, ""))
            if len(self._newest) > KEPT:
                del self._newest[next(iter(self._newest))]

    async def _store(self, incoming: events.Incoming | None) -> bool:
        """Whether it was new."""
        fate = "ignored"
        if incoming is not None:
            new = await self._inbox.store(incoming.key, incoming.key, incoming.payload())
            fate = "stored" if new else "duplicate"
        self._count(fate)
        return fate == "stored"

    def _count(self, fate: str) -> None:
        self._services.metrics.events.labels(PLATFORM, fate).inc()


def _undeleted(body: dict[str, Any]) -> bool:
    data = body.get("channelData")
    return isinstance(data, dict) and data.get("eventType") == "undeleteMessage"
