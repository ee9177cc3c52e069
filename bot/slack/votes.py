"""Thumbs: stored first, acknowledged second, confirmed to the voter third; a thumb down asks why."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering.messages import Vote
from assistant.database import answers
from assistant.strings import say
from bot.slack import modals
from bot.slack.events import PLATFORM, Message, person
from bot.slack.respond import Responder
from bot.slack.workplace import Workplace

log = structlog.get_logger()

STORE_SECONDS = 2.0  # Slack waits 3 s for an acknowledgement

_VALUE = re.compile(r"(up|down):([0-9a-f-]{36})")


def vote_of(body: Mapping[str, Any]) -> Vote | None:
    """The vote in a ``block_actions`` payload; the clicked button's value says which thumb and which answer."""
    action = (body.get("actions") or [{}])[0]
    match = _VALUE.fullmatch(str(action.get("value") or ""))
    user = body.get("user") or {}
    if match is None or not user.get("id"):
        return None
    team = (body.get("team") or {}).get("id") or user.get("team_id") or ""
    try:
        answer_id = uuid.UUID(match[2])
    except ValueError:
        return None
    return Vote(answer_id, person(team, str(user["id"])), 1 if match[1] == "up" else -1)


async def count(place: Workplace, vote: Vote | None, language: str) -> tuple[bool, str]:
    """Store the vote in time; whether it counts, and what its voter is told."""
    if vote is None:
        return False, say("slack.vote_unknown", language)
    try:
        async with asyncio.timeout(STORE_SECONDS), place.services.sessions.begin() as session:
            known = await answers.save_vote(session, vote)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("slack.vote_not_stored", answer=str(vote.answer_id), error=type(error).__name__)
        return False, say("slack.vote_not_stored", language)
    if not known:
        return False, say("slack.vote_unknown", language)
    place.services.metrics.votes.labels(PLATFORM, str(vote.value)).inc()
    return True, say("slack.voted_up" if vote.value > 0 else "slack.voted_down", language)


async def voted(place: Workplace, body: Mapping[str, Any], message: Message) -> None:
    """Count a thumb; when this returns, the click is acknowledged."""
    vote = vote_of(body)
    language = await language_of(place, vote)
    counted, text = await count(place, vote, language)
    trigger = str(body.get("trigger_id") or "")
    if counted and vote is not None and vote.value < 0 and trigger:
        view = modals.reason_view(str(vote.answer_id), language, message.channel, message.thread)
        place.spawn(place.api.open_view(trigger, view), "slack-reason")
    place.spawn(Responder(place, message).say(text), "slack-confirm")


async def language_of(place: Workplace, vote: Vote | None) -> str:
    """The answer's language, which its buttons speak as well."""
    if vote is None:
        return "en"
    try:
        async with asyncio.timeout(STORE_SECONDS / 4), place.services.sessions() as session:
            stored = await answers.by_id(session, vote.answer_id)
    except (SQLAlchemyError, OSError, TimeoutError):
        return "en"
    return stored.answer.language if stored else "en"
