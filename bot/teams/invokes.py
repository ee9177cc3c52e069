"""What Teams waits for an answer to: buttons of cards, thumbs and their dialog. Each answers within a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from assistant.answering.citations import living
from assistant.database import groups, sources
from assistant.knowledge.audience import Audience
from assistant.services import Services
from assistant.strings import known, say
from bot.teams import cards, events, tool_form
from bot.teams.approval_card import APPROVE, DENY
from bot.teams.approvals import ApprovalDesk
from bot.teams.cards import Card
from bot.teams.people import stored_answer
from bot.teams.port import Connector, Refused, Unreachable
from bot.teams.settings_card import settings_from

PLATFORM = "teams"
CARD_TYPE = "application/vnd.microsoft.card.adaptive"
TEXT_TYPE = "application/vnd.microsoft.activity.message"
REASONS = ("wrong", "outdated", "incomplete", "source", "unclear")

Answer = tuple[int, Any]


class Invokes:
    """``keep_vote`` and ``press`` are the receiver's."""

    def __init__(
        self,
        services: Services,
        connector: Connector,
        keep_vote: Callable[[events.Feedback], Awaitable[bool]],
        press: Callable[[events.Incoming], Awaitable[bool]],
        approvals: ApprovalDesk,
    ) -> None:
        self._services = services
        self._approvals = approvals
        self._connector = connector
        self._keep_vote = keep_vote
        self._press = press
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[Answer]]] = {
            "message/submitAction": self._vote,
            "message/fetchTask": self._vote_dialog,
            "adaptiveCard/action": self._pressed,
        }

    async def answer(self, body: dict[str, Any]) -> Answer:
        """The HTTP status and the body."""
        handler = self._handlers.get(str(body.get("name")))
        if handler is None:
            return int(HTTPStatus.NOT_IMPLEMENTED), None
        return await handler(body)

    async def _vote(self, body: dict[str, Any]) -> Answer:
        vote = events.feedback(body)
        if vote is not None:
            await self._keep_vote(vote)
        elif (pressed := events.action(body)) is not None:  # a suggested action of a card
            await self._press(pressed)
        return int(HTTPStatus.OK), {}

    async def _vote_dialog(self, body: dict[str, Any]) -> Answer:
        """A thumb was pressed: it counts at once. Up is thanked for; down is asked why."""
        language = _language(body)
        vote = events.feedback(body)
        kept = vote is not None and await self._keep_vote(vote)
        if not kept or vote is None:
            return _task_message(say("teams.vote_none", language))
        if vote.value > 0:
            return _task_message(say("teams.vote_up", language))
        title = say("teams.vote_down_title", language)
        info: dict[str, Any] = {"title": title, "height": "medium", "width": "medium"}
        info["card"] = {"contentType": CARD_TYPE, "content": vote_card(language)}
        return int(HTTPStatus.OK), {"task": {"type": "continue", "value": info}}

    async def _pressed(self, body: dict[str, Any]) -> Answer:
        """A button of a card (Action.Execute): the card that takes its place, or a line of text."""
        pressed = events.action(body)
        language = known((pressed.data if pressed else {}).get("language")) or _language(body)
        if pressed is None:
            return _text(say("teams.expired", language))
        if pressed.verb == "sources":
            return await self._sources(pressed, language)
        if pressed.verb == "settings":
            return await self._settings(pressed, language)
        if pressed.verb == "cancel":
            return _card(cards.note(say("teams.confirm_cancelled", language)))
        if pressed.verb in (APPROVE, DENY):
            shown = await self._approvals.pressed(pressed, language)
            if isinstance(shown, str):
                return _text(shown)
            await self._press(pressed)
            return _card(shown)
        if pressed.verb == tool_form.TOOL:
            again = await tool_form.mistaken(self._services, pressed.data, language)
            if again is not None:
                return _card(again)
            await self._press(pressed)
            return _card(cards.note(say("approvals.form_sent", language)))
        if pressed.verb == "share" and (refusal := await self._not_the_asker(pressed, language)):
            return _text(refusal)
        if not await self._press(pressed):
            return _text(say("teams.gone" if pressed.data.get("answer") else "teams.expired", language))
        return _begun(pressed, language)

    async def _sources(self, pressed: events.Incoming, language: str) -> Answer:
        """In place of the buttons, for whoever pressed: the sources, and the other buttons. What was removed since, or
        may no longer be read, is left out."""
        stored = await stored_answer(self._services, pressed.data.get("answer", ""))
        if stored is None:
            return _text(say("teams.gone", language))
        answer = stored.answer
        readers = events.own_audience(pressed).principals | events.audience(pressed).principals
        async with self._services.sessions() as session:
            known = await groups.with_groups(session, Audience(readers))
        async with self._services.reading() as session:
            found = answer.citations or answer.nearest
            alive = await living(session, found, known)
        shown = [citation for citation in found if citation.tool or citation.chunk_id in alive]
        buttons = cards.answer_buttons(
            answer.id, pressed.data.get("of", ""), language, sources=False, outsiders=pressed.outsiders
        )
        if not shown:
            return _card(cards.note(say("slack.sources_gone", language), buttons))
        return _card(cards.sources_card(shown, language, buttons))

    async def _settings(self, pressed: events.Incoming, language: str) -> Answer:
        channel = pressed.data.get("channel", pressed.channel)
        if channel != pressed.channel and not await self._belongs(pressed, channel):
            return _text(say("teams.expired", language))
        async with self._services.sessions() as session:
            rows = await sources.listed(session)
        chosen = settings_from(pressed.data, rows)
        await self._services.channels.change(PLATFORM, channel, chosen, pressed.asker)
        return _card(cards.note(say("teams.settings_saved", chosen.language or language)))

    async def _belongs(self, pressed: events.Incoming, channel: str) -> bool:
        """Whether the person is in the conversation that the button names."""
        try:
            await self._connector.member(replace(pressed.place, conversation=channel), pressed.user_id)
        except (Refused, Unreachable):
            return False
        return True

    async def _not_the_asker(self, pressed: events.Incoming, language: str) -> str:
        stored = await stored_answer(self._services, pressed.data.get("answer", ""))
        if stored is None:
            return say("teams.gone", language)
        return "" if stored.asker == pressed.asker else say("teams.not_yours", language)


def vote_card(language: str) -> Card:
    """Why a thumb went down: a choice, and words."""
    choices = [say(f"teams.vote_{reason}", language) for reason in REASONS]
    body = [
        cards.text(say("teams.vote_down", language)),
        {
            "type": "Input.ChoiceSet", "id": "choice", "label": say("teams.vote_reason", language), "style": "expanded",
            "choices": [{"title": choice, "value": choice} for choice in choices],
        },
        {
            "type": "Input.Text", "id": "feedbackText", "label": say("teams.vote_words", language), "isMultiline": True,
            "placeholder": say("teams.vote_placeholder", language), "maxLength": events.MAX_REASON - 100,
        },
    ]  # fmt: skip
    made = cards.card(body)
    send = {"type": "Action.Submit", "title": say("teams.vote_send", language), "style": "positive"}
    return {**made, "actions": [send]}


def _begun(pressed: events.Incoming, language: str) -> Answer:
    """The press was taken: what it has begun."""
    if pressed.verb == "command":
        return _card(cards.note(say("teams.confirm_running", language, command=pressed.data.get("command", ""))))
    if pressed.verb == "files":
        return _card(cards.note(say("teams.files_taking", language)))
    key = {"regenerate": "teams.again", "share": "teams.shared_done", "person": "teams.asking"}[pressed.verb]
    return _text(say(key, language))


def _language(body: dict[str, Any]) -> str:
    return known(events.locale(body)) or "en"


def _card(made: Card) -> Answer:
    return int(HTTPStatus.OK), {"statusCode": 200, "type": CARD_TYPE, "value": made}


def _text(words: str) -> Answer:
    return int(HTTPStatus.OK), {"statusCode": 200, "type": TEXT_TYPE, "value": words}


def _task_message(words: str) -> Answer:
    return int(HTTPStatus.OK), {"task": {"type": "message", "value": words}}
