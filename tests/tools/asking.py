"""An assistant whose every answer is that a call waits for approval, as a model with tools would have it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from assistant.answering.hands import pending
from assistant.answering.messages import Answer, AnswerEvent, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database import answers
from assistant.services import Services
from assistant.tools.model import ToolCaller
from tests.tools.board import Board

TEXT = "I can restart **checkout**, once somebody approves of it."


class Asking:
    """``private``: for the asker alone. ``arguments`` are what is proposed."""

    def __init__(self, services: Services, board: Board, arguments: Mapping[str, Any], private: bool = False) -> None:
        self._services = services
        self._board = board
        self.arguments = arguments
        self.private = private

    async def ask(self, question: Question, stop: asyncio.Event | None = None) -> AsyncGenerator[AnswerEvent, None]:
        sessions = self._services.sessions
        if question.inbox_id is not None:
            async with sessions() as session:
                earlier = await answers.of_event(session, question.inbox_id)
            if earlier is not None:
                yield Done(earlier)
                return
        caller = ToolCaller(
            question.asker, question.platform, question.audience.principals, place=question.conversation
        )
        answer_id = uuid.uuid4()
        approval = await self._services.approvals.propose(
            self._board.tools[0], self.arguments, caller, caller.place, question.conversation, question.platform,
            answer_id, origin=question.inbox_id, name=question.asker_name,
        )  # fmt: skip
        waits, private = (pending(approval),), self.private
        answer = Answer(answer_id, Outcome.WAITING_FOR_APPROVAL, TEXT, model="fake", approvals=waits, private=private)
        async with sessions.begin() as session:
            await answers.save(session, question, answer, [])
            if question.replaces is not None:
                await answers.withdraw(session, question.replaces)
        yield Done(answer)
