"""Activities that were let in: messages are stored for the inbox, votes are kept at once."""

from __future__ import annotations

from typing import Any

import structlog

from assistant.answering.messages import Vote
from assistant.database import answers
from assistant.database.session import Sessions
from assistant.telemetry import Metrics
from bot.inbox import Inbox
from bot.teams import events
from bot.teams.deliver import PLATFORM

log = structlog.get_logger()


class TeamsReceiver:
    """One method for each kind of activity; see ``bot.teams.adapter.Receiver``."""

    def __init__(self, inbox: Inbox, sessions: Sessions, metrics: Metrics) -> None:
        self._inbox = inbox
        self._sessions = sessions
        self._metrics = metrics

    async def message(self, body: dict[str, Any]) -> None:
        await self._store(events.message(body))

    async def conversation_update(self, body: dict[str, Any]) -> None:
        await self._store(events.welcome(body))

    async def feedback(self, body: dict[str, Any]) -> None:
        """Keep the vote; one on a message that is no answer of ours has no effect."""
        vote = events.feedback(body)
        kept = vote is not None and await self._keep(vote)
        if vote is not None and kept:
            self._metrics.votes.labels(PLATFORM, str(vote.value)).inc()
        self._metrics.events.labels(PLATFORM, "vote" if kept else "ignored").inc()

    async def _store(self, incoming: events.Incoming | None) -> None:
        fate = "ignored"
        if incoming is not None:
            new = await self._inbox.store(incoming.key, incoming.key, incoming.payload())
            fate = "stored" if new else "duplicate"
        self._metrics.events.labels(PLATFORM, fate).inc()

    async def _keep(self, vote: events.Feedback) -> bool:
        async with self._sessions.begin() as session:
            answer_id = await answers.of_reply(session, PLATFORM, vote.conversation, vote.message_id)
            if answer_id is None:
                log.warning("teams.vote_without_answer")
                return False
            return await answers.save_vote(session, Vote(answer_id, vote.voter, vote.value, vote.reason))
