"""Commands as Teams shows them: a message and cards, to the caller alone, and how long work stands."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from assistant.answering.messages import Answer, AnswerEvent, Done
from assistant.commands.replies import Caller, Reply
from assistant.database import groups, overview
from assistant.database.inbox import Event
from assistant.knowledge.search import Hit
from assistant.services import Services
from assistant.strings import say
from bot.inbox import Claim
from bot.teams import approval_card, cards, render, tool_form
from bot.teams.approvals import ApprovalDesk
from bot.teams.citations import MAX_NAME, short, web
from bot.teams.events import Incoming, audience, own_audience
from bot.teams.live import BUSY
from bot.teams.markdown import neutral_prose, shown
from bot.teams.outbox import Ledger, Outbox
from bot.teams.port import Connector, Message, Refused
from bot.teams.private import show_privately
from bot.teams.settings_card import settings_card

PLATFORM = "teams"
HIT_CHARS = 300
FOLLOW_SECONDS = 3.0  # between two edits about long work


class Answers(Protocol):
    """How the front end shows answers."""

    async def answer(
        self, incoming: Incoming, stream: AsyncIterator[AnswerEvent], claim: Claim, box: Outbox
    ) -> None: ...

    async def messages(self, incoming: Incoming, answer: Answer) -> Sequence[Message]: ...

    async def approvals(self, incoming: Incoming, answer: Answer, ledger: Ledger) -> None: ...


class CommandDesk:
    """Runs what was typed or pressed."""

    def __init__(
        self, services: Services, connector: Connector, answers: Answers, approvals: ApprovalDesk
    ) -> None:  # fmt: skip
        self._approvals = approvals
        self._services = services
        self._connector = connector
        self._answers = answers

    async def run(
        self, event: Event, incoming: Incoming, box: Outbox, claim: Claim, text: str, *, confirmed: bool = False
    ) -> None:
        """Run the command once: what it began is stored before it is told about, and followed by later attempts."""
        language, kept = box.language, box.ledger.data
        if run_id := kept.get("run"):
            with claim.rest():
                await self.follow(run_id, box, lambda line: self.show(incoming, box, [render.plain_message(line)]))
            return
        await claim.check()
        who = replace(caller(incoming, self._services, language), event=event.id)
        reply = await self._services.commands.run(text, who, confirmed)
        if reply.run_id is not None:
            kept["run"] = str(reply.run_id)
            await box.ledger.save()
        if reply.ask is not None:
            await self._ask(event, replace(incoming, text=reply.ask), box, claim)
            return
        await self._show(incoming, box, reply)
        if reply.run_id is not None:
            show = lambda line: self.show(incoming, box, [render.plain_message(line)])  # noqa: E731
            with claim.rest():
                await self.follow(str(reply.run_id), box, show)

    async def form(self, event: Event, incoming: Incoming, box: Outbox, claim: Claim) -> None:
        """Call a tool with what was filled in on its form."""
        await claim.check()
        name, given = tool_form.entered(incoming.data)
        who = replace(caller(incoming, self._services, box.language), event=event.id)
        await self._show(incoming, box, await self._services.commands.form(name, given, who))

    async def _show(self, incoming: Incoming, box: Outbox, reply: Reply) -> None:
        if reply.approval is not None and not reply.copy:
            await self._approvals.show_one(incoming, reply.approval, box.ledger, private=True)
        await self.show(incoming, box, await self._messages(reply, incoming, box.language))

    async def show(self, incoming: Incoming, box: Outbox, messages: Sequence[Message]) -> None:
        """To the caller alone: in a personal chat anyway, in a group by a targeted message or in the personal chat."""
        box.reopen()
        if incoming.personal or incoming.targeted:
            await box.all(messages)
            return
        way = await show_privately(self._connector, incoming, box.ledger, messages, box.language)
        if way:  # nothing is to be seen in the group, so say where it went
            await box.all([Message(say(f"teams.private{way}_command", box.language, name=render.plain(incoming.name)))])

    async def _ask(self, event: Event, incoming: Incoming, box: Outbox, claim: Claim) -> None:
        """Answer to the caller alone: as in a personal chat there, all at once in a group."""
        from bot.teams.deliver import question_of  # which builds on this file

        alone = replace(incoming, targeted=not incoming.personal)
        settings = await self._services.channels.of(PLATFORM, incoming.channel)
        async with aclosing(self._services.answering.ask(question_of(alone, settings, event.id), claim.stop)) as stream:
            if incoming.personal:
                await self._answers.answer(alone, stream, claim, box)
                return
            async for step in stream:
                if isinstance(step, Done):
                    await self.show(incoming, box, await self._answers.messages(alone, step.answer))
                    await self._answers.approvals(alone, step.answer, box.ledger)

    async def follow(self, run_id: str, box: Outbox, show: Callable[[str], Awaitable[None]]) -> None:
        """Say in one line how the work stands, now and then, and at last how it ended."""
        clock = asyncio.get_running_loop().time
        shown_at = float("-inf")
        async for state in self._services.commands.follow(uuid.UUID(run_id), box.language):
            await box.ledger.check()
            if not state.finished and clock() - shown_at < FOLLOW_SECONDS:
                continue
            shown_at = clock()
            try:
                await show(state.text)
            except Refused as error:
                if state.finished or error.status not in BUSY:
                    raise

    async def _messages(self, reply: Reply, incoming: Incoming, language: str) -> Sequence[Message]:
        if reply.settings:
            settings = await self._services.channels.of(PLATFORM, incoming.channel)
            async with self._services.sessions() as session:
                readers = await groups.with_groups(session, audience(incoming))
            async with self._services.reading() as session:
                known = await overview.readable_sources(session, readers)
            title = say("teams.settings_title", language)
            return [Message(title, card=settings_card(settings, known, incoming.channel, language))]
        if reply.upload:
            return [Message(say("teams.files_how" if incoming.personal else "teams.files_group", language))]
        if reply.form is not None:
            return [Message(reply.text, card=tool_form.form_card(reply.form, language))]
        if reply.approval is not None and reply.copy:
            return [approval_card.message(reply.approval, language)]
        if reply.confirm is not None:
            yes = cards.Button(reply.confirm.button, "command", (("command", reply.confirm.command),), "destructive")
            no = cards.Button(say("teams.confirm_no", language), "cancel")
            return [Message(reply.confirm.sentence, card=cards.note(reply.confirm.sentence, (yes, no)))]
        view = shown("\n\n".join(filter(None, (reply.text, _hits(reply.hits)))), language)
        found = cards.table_cards(view.tables, language)
        if reply.table is not None:
            found += cards.table_card(reply.table.header, reply.table.rows, language)
        parts = [Message(part) for part in render.split(view.text) if part.strip()]
        return render.with_cards(parts, found, (), language)


def caller(incoming: Incoming, services: Services, language: str) -> Caller:
    place = f"channel:{PLATFORM}:{incoming.channel}"
    if incoming.personal:
        place = f"user:{PLATFORM}:{incoming.person}"
    return Caller(
        person=incoming.asker,
        platform=PLATFORM,
        audience=own_audience(incoming),
        admin=services.roles.is_admin(incoming.asker),
        language=language,
        place=place,
        place_name=incoming.name if incoming.personal else "",
        name=incoming.name,
    )


def _hits(hits: Sequence[Hit]) -> str:
    lines = []
    for n, hit in enumerate(hits, start=1):
        title = neutral_prose(short(hit.title, MAX_NAME)).replace("[", "(").replace("]", ")")
        url = web(hit.link)
        words = neutral_prose(short(hit.text, HIT_CHARS))
        lines.append(f"{n}. " + (f"[{title}]({url})" if url else f"**{title}**") + f"\n\n    {words}")
    return "\n\n".join(lines)
