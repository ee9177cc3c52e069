"""From a stored event to what people see of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog

from assistant.answering.messages import Answer, AnswerEvent, Question
from assistant.answering.outcomes import Outcome
from assistant.database.inbox import Event
from assistant.errors import QuestionRejected
from assistant.strings import detect, say
from bot import inbox
from bot.inbox import Claim, LostClaim, TryLater
from bot.slack import approvals, blocks
from bot.slack.draft import Draft
from bot.slack.errors import GONE, Refused, Unreachable
from bot.slack.events import NOWHERE, PLATFORM, Message, later, own_audience, said
from bot.slack.lookup import Posted, nameless, parts_of
from bot.slack.render import Look, Part, answer_parts, file_button, plain_part
from bot.slack.respond import Responder
from bot.slack.sign import Sign
from bot.slack.stream import Shown, Writer
from bot.slack.workplace import Workplace

log = structlog.get_logger()

STEP_SECONDS = 0.2
FIRST_BACKOFF, LONGEST_BACKOFF = 2.0, 60.0  # seconds; doubled with each attempt

ASKING = ("message", "edit", "regenerate", "ask")

Job = Callable[[Workplace, Event, Claim], Awaitable[dict[str, Any]]]


class SlackFrontEnd:
    """Implements ``bot.inbox.FrontEnd``. ``jobs`` do what is no question, by the event's kind."""

    platform = PLATFORM

    def __init__(self, place: Workplace, jobs: Mapping[str, Job]) -> None:
        self._place = place
        self._jobs = jobs
        self._found: dict[uuid.UUID, dict[int, Posted]] = {}
        self._superseded: set[uuid.UUID] = set()  # edits that a later one has answered already
        self._at_work: dict[uuid.UUID, asyncio.Lock | None] = {}  # with the turn at its message

    async def question(self, event: Event) -> Question | None:
        """The question of an event. One that is at work here already is left to that work.

        A process that was busy for longer than its lease finds its own events free, and takes them once more.
        """
        if event.id in self._at_work:
            raise LostClaim
        self._at_work[event.id] = None
        try:
            return await self._question(event)
        except BaseException:
            self._ended(event)
            raise

    def _ended(self, event: Event) -> None:
        turn = self._at_work.pop(event.id, None)
        if turn is not None:
            turn.release()

    async def _question(self, event: Event) -> Question | None:
        if event.payload.get("kind", "message") not in ASKING:
            return None
        message = Message.from_payload(event.payload)
        self._at_work[event.id] = await self._place.turn(message.key)
        replaces = await self._replaced(event, message)
        if any(later(posted.edited, message.edited) for posted in self._found.get(event.id, {}).values()):
            self._superseded.add(event.id)
            return None
        newest = await self._newest(message)
        if newest is None:
            self._superseded.add(event.id)  # by a deletion
            return None
        text = newest or await self._root(message)
        if not text:
            return None
        place = self._place
        who, settings = await asyncio.gather(place.people.get(message.team, message.user), place.settings(message))
        private = message.direct or message.kind == "ask"
        outsiders = message.outsiders or who.stranger
        own = own_audience(message.team, message.user, outsiders, who.email)
        return Question(
            text=text,
            asker=message.asker,
            audience=own if private else message.audience,
            platform=PLATFORM,
            conversation=message.conversation,
            inbox_id=event.id,
            asker_name=who.name,
            asker_audience=None if private else own,
            unprompted=message.unprompted,
            language=settings.language,
            locale=who.locale,
            persona=settings.persona,
            sources=settings.sources,
            replaces=replaces,
        )

    async def _replaced(self, event: Event, message: Message) -> uuid.UUID | None:
        """The answer that this one takes the place of; what stands of it in the thread is kept for ``deliver``."""
        if message.kind not in ("edit", "regenerate"):
            return None
        newest, found = message.replaces, dict[int, Posted]()
        if message.kind == "regenerate":
            found = await parts_of(self._place.api, message, lambda it: it.get("answer_id") == message.replaces)
        else:
            reply = await self._place.inbox.reply_of(message.key)
            sent = (reply.sent or {}) if reply else {}
            parts = [str(ts) for ts in sent.get("parts") or ()]
            if sent.get("starting"):  # it died while it began a message
                taken = self._place.streaming.messages | {(message.channel, ts) for ts in parts}
                orphan = await nameless(self._place.api, message, parts, taken, self._place.inbox)
                parts += [orphan.ts] if orphan else []
            found = {number: Posted(ts, number, "", True, "") for number, ts in enumerate(parts)}
            found |= await parts_of(self._place.api, message, lambda it: it.get("asked") == message.ts)
            newest = next((posted.answer_id for posted in found.values() if posted.answer_id), "")
            newest = newest or str(reply.answer_id or "" if reply else "")
        self._found[event.id] = found
        return uuid.UUID(newest) if newest else None

    async def _newest(self, message: Message) -> str | None:
        """What is asked; of an edited question its text as it is now, since edits may come late and out of order.

        None where the message is gone.
        """
        if message.kind != "edit":
            return message.text
        try:
            now = await self._place.api.message(message.channel, message.ts, message.thread)
        except (Refused, Unreachable):
            return message.text
        if now is None or now.get("subtype") == "tombstone":
            return None
        return said(now, message.bot or None)

    async def _root(self, message: Message) -> str:
        """What a thread began with, an app's alert perhaps: the question of who only mentions the bot below it."""
        if message.thread == message.ts or message.files:
            return ""
        try:
            root = await self._place.api.message(message.channel, message.thread, message.thread)
        except (Refused, Unreachable):
            return ""
        ours = root is not None and (root.get("user") == message.bot if message.bot else root.get("bot_id"))
        return "" if root is None or ours else said(root, message.bot or None)

    async def deliver(self, event: Event, stream: AsyncIterator[AnswerEvent] | None, claim: Claim) -> dict[str, Any]:
        """Show the answer, or do the job, and return what was sent."""
        try:
            if stream is None and (job := self._jobs.get(event.payload.get("kind", "message"))):
                return await job(self._place, event, claim)
            if event.id in self._superseded:
                return {"superseded": True}
            message = Message.from_payload(event.payload)
            with self._place.working(message, claim):
                return await self._answer(message, event, stream, claim)
        except Unreachable as error:
            delay = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(event.attempts - 1, 10))
            raise TryLater(delay, f"Slack: {error}") from None
        except Refused as error:
            return await self._refused(event, error, claim)
        finally:
            self._ended(event)
            self._superseded.discard(event.id)
            self._found.pop(event.id, None)

    async def _refused(self, event: Event, error: Refused, claim: Claim) -> dict[str, Any]:
        """Where nothing can be sent, that is the end; what Slack does not take is said in plain words at the last."""
        message = Message.from_payload({**NOWHERE, **event.payload})
        if error.code in GONE:
            log.warning("slack.channel_gone", inbox_id=str(event.id), channel=message.channel, code=error.code)
            return {"channel": message.channel, "refused": error.code}
        if event.attempts < inbox.MAX_ATTEMPTS or not message.channel:
            raise error
        language = await self._place.language(message)
        text = say("slack.undeliverable", language, code=error.code, reference=str(event.id)[:8])
        await claim.check()
        await self._place.api.post(message.channel, message.thread or None, plain_part(text), {}, plain=True)
        log.error("slack.undeliverable", inbox_id=str(event.id), reason=str(error))
        return {"channel": message.channel, "refused": error.code}

    async def _answer(
        self, message: Message, event: Event, stream: AsyncIterator[AnswerEvent] | None, claim: Claim
    ) -> dict[str, Any]:
        writer = Writer(
            self._place.api, message, claim, self._place.streaming, event.event_id, event.reply or {}
        )  # fmt: skip
        writer.live = event.attempts == 1 and message.kind == "message" and not message.unprompted
        try:
            if stream is None:
                answer, parts = None, [await self._offer(message)]
            else:
                answer, parts = await self._made(message, stream, writer)
            if message.kind == "ask" or (answer is not None and answer.private):
                reply = await self._privately(message, event, writer, parts, claim)
                await self._cards(message, event, answer, claim)
                return reply
            if message.unprompted and (answer is None or answer.outcome is not Outcome.ANSWERED):
                return {"channel": message.channel, "silent": True}
            await self._look_around(message, event, writer, str(answer.id) if answer else "")
            sent = await writer.finish(parts, str(answer.id) if answer else "")
            await self._cards(message, event, answer, claim)
            return {"channel": message.channel, "parts": sent}
        finally:
            writer.forget()

    async def _cards(self, message: Message, event: Event, answer: Answer | None, claim: Claim) -> None:
        """What the answer waits for, below it."""
        if answer is not None and answer.approvals:
            await approvals.show(self._place, message, event, answer, claim)

    async def _made(
        self, message: Message, stream: AsyncIterator[AnswerEvent], writer: Writer
    ) -> tuple[Answer | None, list[Part]]:
        """The answer and its messages; a question that is none gets a sentence."""
        draft = Draft(stream)
        quietly = message.kind == "ask" or message.unprompted
        sign = None if quietly else Sign(self._place, message, draft, await self._language(message))
        try:
            await self._show(draft, writer, sign)
            answer = await draft.result()
        except QuestionRejected as error:
            return None, [plain_part(str(error))]
        finally:
            if sign is not None:
                await sign.close()
            await draft.close()
        settings = await self._place.settings(message)
        look = Look(
            outsiders=message.outsiders, sources=settings.show_sources, files=message.files,
            ephemeral=answer.private or message.kind == "ask",
        )  # fmt: skip
        return answer, answer_parts(answer, look)

    async def _show(self, draft: Draft, writer: Writer, sign: Sign | None) -> None:
        """The draft as it grows, at the pace that Slack allows."""
        loop = asyncio.get_running_loop()
        while not draft.over:
            await draft.wait(STEP_SECONDS)
            if draft.over:
                return
            if draft.since is not None:
                await writer.flush(draft.pages, loop.time() - draft.since)
            if sign is not None and not writer.shown and sign.needs_place():
                await writer.hold_place(say("slack.placeholder", sign.language))
            if sign is not None and writer.shown:
                await sign.close()

    async def _offer(self, message: Message) -> Part:
        """The reply to a message without words: what can be done with its files, or what can be asked."""
        language = await self._place.language(message)
        if not message.files:
            return plain_part(say("slack.help", language))
        text = say("slack.file_offer", language, names=", ".join(name for _, name in message.files))
        buttons = [file_button(file_id, name, language) for file_id, name in message.files[:5]]
        return plain_part(text, blocks.actions(*buttons))

    async def _look_around(self, message: Message, event: Event, writer: Writer, answer_id: str) -> None:
        """Learn what an earlier attempt, or a call without a reply, has left in the thread."""
        found = self._found.get(event.id, {})
        if event.attempts > 1 or writer.uncertain:
            sent = await parts_of(self._place.api, message, lambda it: it.get("event_id") == event.event_id)
            found = {**found, **sent}
        for number in sorted(found):
            posted = found[number]
            final = not posted.draft and posted.answer_id == answer_id
            place = next((item for item in writer.shown if item.ts == posted.ts), None)
            if place is not None:
                place.final = place.final or final
            elif number == len(writer.shown):
                writer.shown.append(Shown(posted.ts, certain=False, open=posted.draft, final=final))
        if not writer.shown and message.kind == "regenerate" and (at := event.payload.get("container")):
            writer.shown.append(Shown(str(at), certain=False))
        known, taken = [item.ts for item in writer.shown], self._place.streaming.messages
        if writer.uncertain and (orphan := await nameless(self._place.api, message, known, taken, self._place.inbox)):
            log.info("slack.stream_found", inbox_id=str(event.id))
            writer.add([orphan.ts])

    async def _privately(
        self, message: Message, event: Event, writer: Writer, parts: list[Part], claim: Claim
    ) -> dict[str, Any]:
        """To the asker alone: beside the question, or where that cannot be, in a direct message.

        Nobody can look up what one person was shown, so that what was is kept after each part.
        """
        await writer.remove_all()
        shown = int((event.reply or {}).get("shown", 0))
        responder = Responder(self._place, message, used=shown)
        for number, part in enumerate(parts[shown:], start=shown + 1):
            await claim.check()
            await responder.say(part)
            await claim.remember({"channel": message.channel, "private": True, "shown": number})
        return {"channel": message.channel, "private": True}

    async def _language(self, message: Message) -> str:
        settings = await self._place.settings(message)
        who = await self._place.people.get(message.team, message.user)
        return settings.language or detect(message.text, who.locale)
