"""Thumbs: stored first, acknowledged second, confirmed to the voter third."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering.messages import Vote
from assistant.database import answers
from assistant.database.session import Sessions
from assistant.telemetry import Metrics
from bot.slack import texts
from bot.slack.events import PLATFORM, person

log = structlog.get_logger()

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


async def count(vote: Vote | None, sessions: Sessions, metrics: Metrics, seconds: float) -> str:
    """Store the vote within ``seconds``; returns what its voter is told."""
    if vote is None:
        return texts.VOTE_UNKNOWN
    try:
        async with asyncio.timeout(seconds), sessions.begin() as session:
            known = await answers.save_vote(session, vote)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("slack.vote_not_stored", answer=str(vote.answer_id), error=type(error).__name__)
        return texts.VOTE_NOT_STORED
    if not known:
        return texts.VOTE_UNKNOWN
    metrics.votes.labels(PLATFORM, str(vote.value)).inc()
    return texts.VOTED_UP if vote.value > 0 else texts.VOTED_DOWN


async def confirm(http: aiohttp.ClientSession, body: Mapping[str, Any], text: str) -> None:
    """Tell the voter, and nobody else, beside the answer."""
    url = body.get("response_url")
    if not url:
        return
    reply = {"response_type": "ephemeral", "replace_original": False, "text": text}
    if thread := (body.get("container") or {}).get("thread_ts"):
        reply["thread_ts"] = thread
    try:
        async with http.post(str(url), json=reply) as response:
            if response.status != 200:
                log.warning("slack.vote_not_confirmed", status=response.status)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        log.warning("slack.vote_not_confirmed", error=type(error).__name__)
