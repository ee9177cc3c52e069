"""From a stored event to its one visible answer in Teams."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import structlog

from assistant.answering.messages import Answer, AnswerEvent, Question
from assistant.answering.outcomes import Outcome
from assistant.database.channels import ChannelSettings
from assistant.database.inbox import Event
from assistant.errors import QuestionRejected
from assistant.services import Services
from assistant.strings import DEFAULT, detect, known, say
from bot.inbox import MAX_ATTEMPTS, Claim, LostClaim, TryLater
from bot.teams import cards, live, render
from bot.teams.approval_card import APPROVE, DENY
from bot.teams.approvals import ApprovalDesk
from bot.teams.changes import Changes
from bot.teams.citations import MAX_CITATIONS
from bot.teams.commands import CommandDesk
from bot.teams.events import Incoming, audience, own_audience
from bot.teams.files import FileDesk
from bot.teams.live import BUSY, Live
from bot.teams.outbox import Ledger, Outbox, targeted
from bot.teams.paced import OVER_BUDGET
from bot.teams.people import ask_a_person, share
from bot.teams.port import Connector, Message, Refused, Unreachable
from bot.teams.private import show_privately
from bot.teams.tokens import Door
from bot.teams.tool_form import TOOL

log = structlog.get_logger()

PLATFORM = "teams"
MAX_WAIT = 60.0  # seconds between attempts, unless the platform asks for more
LONGEST_WAIT = 600.0
PATIENCE = 40  # attempts while the platform is away (over half an hour), before the event is given up
UNANSWERED = frozenset({Outcome.FAILED, Outcome.OVER_LIMIT, Outcome.REFUSED})
WITHOUT = frozenset({Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS})


class TeamsFrontEnd:
    """Turns events into questions and answers into messages; see ``bot.inbox.FrontEnd``."""

    platform = PLATFORM

    def __init__(
        self, connector: Connector, services: Services, session: aiohttp.ClientSession, door: Door,
        approvals: ApprovalDesk,
    ) -> None:  # fmt: skip
        self._connector = connector
        self._services = services
        self._streams: set[str] = set()
        self._working: set[uuid.UUID] = set()
        self._most_citations = 10 if services.settings.teams_anonymous else MAX_CITATIONS  # the Playground takes ten
        self._approvals = approvals
        self._changes = Changes(connector, services)
        self._commands = CommandDesk(services, connector, self, approvals)
        self._files = FileDesk(services, session, door.may_call, self._commands)

    async def question(self, event: Event) -> Question | None:
        incoming = Incoming.restore(event.payload)
        if not asks(incoming, self._services):
            return None
        settings = await self._settings(incoming)
        return question_of(incoming, settings, event.id)

    async def deliver(self, event: Event, stream: AsyncIterator[AnswerEvent] | None, claim: Claim) -> dict[str, Any]:
        incoming = Incoming.restore(event.payload)
        ledger = Ledger(claim, event.reply)
        if event.id in self._working:  # the lease ran out under an attempt of this very process
            raise LostClaim
        self._working.add(event.id)
        try:
            await self._deliver(event, incoming, stream, claim, ledger)
        except (Refused, Unreachable) as error:
            raise _later(event, error) from error
        except (LostClaim, TryLater):
            raise
        except Exception:
            if event.attempts >= MAX_ATTEMPTS:  # the last attempt says that it was one
                await self._confess(event, incoming, ledger)
            raise
        finally:
            self._working.discard(event.id)
        return ledger.reply()

    async def _deliver(
        self, event: Event, incoming: Incoming, stream: AsyncIterator[AnswerEvent] | None, claim: Claim, ledger: Ledger
    ) -> None:
        language = await self._language(incoming)
        if incoming.kind == "delete":
            await self._changes.take_back(incoming, claim, language)
            return
        original = await self._changes.carry(incoming, ledger)
        box = self._box(incoming, ledger, language)
        if stream is not None:
            await self.answer(incoming, stream, claim, box)
        elif incoming.kind == "welcome":
            await box.say(_welcome(incoming, language))
        elif incoming.kind == "action":
            await self._act(event, incoming, claim, box)
        elif incoming.files:
            await self._files.receive(incoming, box, claim)
        elif incoming.text:
            await self._commands.run(event, incoming, box, claim, incoming.text)
        else:
            await box.say(_help(incoming, language))
        if original is not None:
            await self._changes.hand_back(original, incoming, ledger)

    async def answer(self, incoming: Incoming, stream: AsyncIterator[AnswerEvent], claim: Claim, box: Outbox) -> None:
        """Show the answer as it is made, and then as it is."""
        view = Live(
            self._connector, box, claim, self._streams, live.TEMPO,
            personal=incoming.personal, quiet=incoming.unprompted, again=bool(incoming.of),
        )  # fmt: skip
        try:
            answer = await view.watch(stream)
            if await self._changes.superseded(incoming):  # by an edit that came after this one
                return
            if not (incoming.unprompted and answer.outcome is not Outcome.ANSWERED):
                await self._show(incoming, answer, view, box.ledger)
                await self.approvals(incoming, answer, box.ledger)
            box.ledger.data["answer"] = str(answer.id)
        except QuestionRejected as error:
            await view.finish([render.plain_message(str(error))])
        finally:
            view.release()

    async def _show(self, incoming: Incoming, answer: Answer, view: Live, ledger: Ledger) -> None:
        messages = await self.messages(incoming, answer)
        if not answer.private or incoming.personal or incoming.targeted:
            await view.finish(messages)
            return
        way = await show_privately(self._connector, incoming, ledger, messages, answer.language)
        note = say(f"teams.private{way}", answer.language, name=render.plain(incoming.name))
        await view.finish([Message(note)])

    async def approvals(self, incoming: Incoming, answer: Answer, ledger: Ledger) -> None:
        """What the answer waits for, below it."""
        await self._approvals.show(incoming, answer, ledger)

    async def messages(self, incoming: Incoming, answer: Answer) -> Sequence[Message]:
        settings = await self._settings(incoming)
        buttons: Sequence[cards.Button] = ()
        if answer.outcome not in UNANSWERED:
            buttons = cards.answer_buttons(
                answer.id, incoming.of or incoming.key, answer.language,
                sources=bool(answer.citations or answer.nearest), share=answer.private and not incoming.personal,
                outsiders=incoming.outsiders,
            )  # fmt: skip
        if answer.private and not incoming.personal:
            answer = replace(answer, text=f"{say('teams.private_note', answer.language)}\n\n{answer.text}")
        if incoming.outsiders and answer.outcome in WITHOUT:
            answer = replace(answer, text=f"{answer.text}\n\n{say('outsiders.channel', answer.language)}")
        messages = render.answer_messages(
            answer, show_sources=settings.show_sources, buttons=buttons, most_citations=self._most_citations
        )
        if not incoming.targeted:
            return messages
        quoted = {"type": "targetedMessageInfo", "messageId": incoming.activity_id}
        return [replace(message, entities=(*message.entities, quoted)) for message in messages]

    async def _act(self, event: Event, incoming: Incoming, claim: Claim, box: Outbox) -> None:
        """A button whose work outlives the press."""
        if incoming.verb == "command":
            command = incoming.data.get("command", "")
            await self._commands.run(event, incoming, box, claim, command, confirmed=True)
        elif incoming.verb == TOOL:
            await self._commands.form(event, incoming, box, claim)
        elif incoming.verb == "files":
            await self._files.take(incoming, box, claim)
        elif incoming.verb == "person":
            settings = await self._settings(incoming)
            await ask_a_person(self._connector, self._services, incoming, box, settings)
        elif incoming.verb in (APPROVE, DENY):
            await self._approvals.decide(incoming, box, self._commands.show)
        elif incoming.verb == "share":
            await share(self._connector, self._services, incoming, box)

    async def _confess(self, event: Event, incoming: Incoming, ledger: Ledger) -> None:
        if incoming.kind == "delete" or incoming.unprompted:
            return
        language = known(incoming.locale) or DEFAULT
        reference = event.id.hex[:8]
        log.error("teams.gave_up", reference=reference)
        try:
            text = say("common.failed", language, reference=reference)
            await self._box(incoming, ledger, language).all([Message(text)])
        except (Refused, Unreachable):
            log.warning("teams.could_not_say_so", reference=reference)

    def _box(self, incoming: Incoming, ledger: Ledger, language: str) -> Outbox:
        place = targeted(incoming.place) if incoming.targeted else incoming.place
        reply_to = incoming.activity_id if incoming.kind == "message" and not incoming.targeted else None
        return Outbox(self._connector, place, ledger, language, reply_to=reply_to)

    async def _settings(self, incoming: Incoming) -> ChannelSettings:
        return await self._services.channels.of(PLATFORM, incoming.channel)

    async def _language(self, incoming: Incoming) -> str:
        settings = await self._settings(incoming)
        return settings.language or detect(incoming.text, incoming.locale)


def asks(incoming: Incoming, services: Services) -> bool:
    """Whether the event is a question (and not a command, a button, a file to be read)."""
    if not incoming.text or incoming.kind not in {"message", "edit", "action"}:
        return False
    if incoming.kind == "action":
        return incoming.verb == "regenerate"
    if incoming.files and FileDesk.wanted(incoming.text):
        return False
    return not services.commands.is_command(incoming.text)


def question_of(incoming: Incoming, settings: ChannelSettings, event_id: uuid.UUID) -> Question:
    own = own_audience(incoming)
    return Question(
        text=incoming.text,
        asker=incoming.asker,
        audience=own if incoming.targeted else audience(incoming),
        platform=PLATFORM,
        conversation=incoming.conversation,
        inbox_id=event_id,
        asker_name=incoming.name,
        asker_audience=None if incoming.unprompted else own,
        unprompted=incoming.unprompted,
        language=settings.language,
        locale=incoming.locale or None,
        persona=settings.persona,
        sources=settings.sources,
        replaces=uuid.UUID(incoming.replaces) if incoming.replaces else None,
    )


def _welcome(incoming: Incoming, language: str) -> Message:
    if incoming.personal:
        return Message(say("teams.welcome", language), suggestions=_suggestions(language))
    return Message(say("teams.welcome_group", language, name="Almanac"))


def _help(incoming: Incoming, language: str) -> Message:
    return Message(say("teams.help", language), suggestions=_suggestions(language) if incoming.personal else ())


def _suggestions(language: str) -> tuple[str, ...]:
    return tuple(say(f"teams.suggestion_{n}", language) for n in (1, 2, 3))


def _later(event: Event, error: Refused | Unreachable) -> Exception:
    """Wait where waiting helps; anything else counts as a failed attempt."""
    if isinstance(error, Refused) and error.code == OVER_BUDGET:
        return TryLater(min(error.retry_after or 1.0, LONGEST_WAIT), str(error))
    if event.attempts >= PATIENCE or (isinstance(error, Refused) and error.status not in BUSY):
        return error
    asked = error.retry_after if isinstance(error, Refused) else None
    if asked is not None:
        return TryLater(min(asked, LONGEST_WAIT), str(error))
    backoff = min(MAX_WAIT, 2.0 ** min(event.attempts - 1, 6))
    return TryLater(backoff * random.uniform(0.5, 1.0), str(error))  # noqa: S311 - jitter, not a secret
