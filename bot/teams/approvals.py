"""Approvals on Teams: cards below answers and with those who may decide, presses on them, and what they then show."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from assistant.answering.messages import Answer
from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.errors import NotFound
from assistant.services import Services
from assistant.strings import say
from assistant.tools.rights import Refusal, principals_of, refusal
from bot import approvals as shared
from bot.teams import approval_card
from bot.teams.approval_card import APPROVE
from bot.teams.cards import Card
from bot.teams.events import Incoming, own_audience
from bot.teams.live import BUSY
from bot.teams.outbox import GONE, NO_UPDATES, Ledger, Outbox
from bot.teams.port import Connector, Message, Place, Refused

log = structlog.get_logger()

PLATFORM = "teams"

Tell = Callable[[Incoming, Outbox, Sequence[Message]], Awaitable[None]]


class ApprovalDesk:
    """``tell`` says something to the presser alone."""

    def __init__(self, services: Services, connector: Connector) -> None:
        self._services = services
        self._connector = connector

    # presses

    async def pressed(self, incoming: Incoming, language: str) -> str | Card:
        """What the presser sees at once: why not, or the card as it is about to be."""
        approval = await self._named(incoming)
        if approval is None:
            return say("approvals.no_such", language, number=incoming.data.get("approval", "")[:8])
        who, approve = incoming.asker, incoming.verb == APPROVE
        if (refused := refusal(approval, who, await self._principals(incoming), approve)) is not None:
            return refused.sentence(language)
        if approval.state == "waiting":
            state = "running" if approve else "denied"
            now = datetime.now(UTC)
            approval = replace(approval, state=state, decided_by=who, decided_name=incoming.name, decided_at=now)
        return approval_card.card(approval, approval.language)

    async def decide(self, incoming: Incoming, box: Outbox, tell: Tell) -> None:
        """Take the decision, make the call, and let the cards show both."""
        approval = await self._named(incoming)
        await box.ledger.check()
        approve, language = incoming.verb == APPROVE, box.language
        try:
            if approval is None:
                raise NotFound("There is no such approval.")
            ended = await self._services.approvals.decide(
                approval.id, incoming.asker, await self._principals(incoming), approve, incoming.data.get("hash", ""),
                name=incoming.name, platform=PLATFORM,
            )  # fmt: skip
        except Refusal as error:
            await tell(incoming, box, [Message(error.sentence(language))])
            return
        except NotFound:
            number = incoming.data.get("approval", "")[:8]
            await tell(incoming, box, [Message(say("approvals.no_such", language, number=number))])
            return
        await self.refresh(ended)
        if closed := shared.closed(ended, incoming.asker, approve, language):
            await tell(incoming, box, [Message(closed)])

    async def _named(self, incoming: Incoming) -> Approval | None:
        try:
            return await self._services.approvals.get(uuid.UUID(incoming.data.get("approval", "")))
        except ValueError:
            return None

    async def _principals(self, incoming: Incoming) -> frozenset[str]:
        admin = self._services.roles.is_admin(incoming.asker)
        return await principals_of(self._services.sessions, own_audience(incoming), admin)

    # cards

    async def show(self, incoming: Incoming, answer: Answer, ledger: Ledger) -> None:
        """Put a card for each call that an answer waits for below it, or with its asker; and with those who decide."""
        private = answer.private or incoming.targeted
        for pending in answer.approvals:
            approval = await self._services.approvals.get(pending.id)
            if approval is not None:
                await self.show_one(incoming, approval, ledger, private)

    async def show_one(self, incoming: Incoming, approval: Approval, ledger: Ledger, private: bool) -> None:
        if private and not incoming.personal:
            await self._to(incoming.place, approval, ledger)
        else:
            await self._post(incoming.place, approval, ledger)
        if approval.state == "waiting":
            prefix = f"{PLATFORM}:{incoming.tenant}:"
            for user in shared.deciders(self._services, approval, prefix, incoming.person):
                await self._to(replace(incoming.place, user_id=user), approval, ledger)

    async def _to(self, place: Place, approval: Approval, ledger: Ledger) -> None:
        """The card in somebody's personal chat; one who has none with the bot is left out."""
        try:
            chat = await self._connector.open_chat(place)
            await self._post(replace(place, conversation=chat, personal=True, only=""), approval, ledger)
        except Refused as error:
            if error.status in BUSY:
                raise
            log.warning("teams.approver_not_told", status=error.status, code=error.code)

    async def _post(self, place: Place, approval: Approval, ledger: Ledger) -> None:
        """Once for each place: what was posted is stored with the event that led to it."""
        number = f"approval-{approval.number}-{place.conversation}"
        box = Outbox(self._connector, place, ledger, approval.language, section=number)
        state = "" if box.begun else approval.state  # what an earlier attempt has posted may show another state
        await box.say(approval_card.message(approval, approval.language))
        await self._keep(place, str(ledger.section(number)["activity_id"]), approval, state)

    async def refresh(self, approval: Approval) -> None:
        """Let every card of the approval show how it stands now."""
        await shared.refresh(self._services, PLATFORM, approval, self._update)

    async def _update(self, approval: Approval, kept: Mapping[str, Any]) -> None:
        place, activity = Place(**kept["place"]), str(kept["activity"])
        try:
            await self._connector.update(place, activity, approval_card.message(approval, approval.language))
        except Refused as error:
            if error.status in BUSY:
                raise
            known = error.status in GONE | NO_UPDATES
            log.log(logging.INFO if known else logging.ERROR, "teams.card_left", status=error.status, code=error.code)
        await self._keep(place, activity, approval, approval.state)

    async def _keep(self, place: Place, activity: str, approval: Approval, state: str) -> None:
        kept = {"platform": PLATFORM, "place": asdict(place), "activity": activity, "state": state}
        async with self._services.sessions.begin() as session:
            await rows.keep_card(session, approval.id, kept)
