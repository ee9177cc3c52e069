"""What one question may do: the tools that everybody who reads its answer may use, each call kept on record."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant import tracing
from assistant.answering.calling import Hands, Screened
from assistant.answering.messages import PendingApproval, Question
from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit
from assistant.spending.caps import channel_of
from assistant.tools.model import Arguments, Tool, ToolCaller, ToolResult, arguments_hash
from assistant.tools.showing import ordered

log = structlog.get_logger()

Screen = Callable[[Sequence[str]], Awaitable[Sequence[Screened]]]
Search = Callable[[str], Awaitable[Sequence[Hit]]]


class Tools(Protocol):
    """What is needed of ``assistant.tools.registry.Toolbox``."""

    async def tools_for(self, caller: ToolCaller) -> Sequence[Tool]: ...

    def validate(self, tool: Tool, arguments: object) -> dict[str, Any]: ...

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None = None
    ) -> ToolResult: ...


class Proposing(Protocol):
    """What is needed of ``assistant.tools.approval.Approvals``."""

    async def propose(
        self, tool: Tool, arguments: Arguments, requester: ToolCaller, place: str, conversation: str, platform: str,
        answer_id: uuid.UUID | None, *, origin: uuid.UUID | None = ..., name: str = ..., known_as: Any = ...,
    ) -> Approval: ...  # fmt: skip


class Workshop:
    """Makes ``Hands``. ``sessions``: for the record of calls; ``screen``: the guard's word on what tools say."""

    def __init__(self, tools: Tools, approvals: Proposing, sessions: Sessions, screen: Screen | None = None) -> None:
        self._tools = tools
        self._approvals = approvals
        self._sessions = sessions
        self._screen = screen

    async def tools_for(self, question: Question, audience: Audience, language: str) -> Sequence[Tool]:
        """The tools that everybody in ``audience`` may use."""
        return await self._tools.tools_for(caller_of(question, audience, language))

    def hands(
        self, question: Question, audience: Audience, language: str, answer_id: uuid.UUID, tools: Sequence[Tool],
        search: Search,
    ) -> Hands:  # fmt: skip
        """For one answer. ``tools`` are some of those of ``tools_for``."""
        caller = caller_of(question, audience, language)
        origin = question.inbox_id or answer_id

        async def call(tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
            # A question that comes again must not do again what needs no approval either.
            key = str(uuid.uuid5(origin, arguments_hash(tool, arguments))) if tool.writes else None
            with tracing.tool(tool.name, source=tool.source) as span:
                span.content("gen_ai.tool.call.arguments", dict(arguments))
                async with _Recorded(self._sessions, question, answer_id, tool, arguments) as record:
                    record.result = await self._tools.call(tool, arguments, caller, key)
                span.content("gen_ai.tool.call.result", record.result.text)
            return record.result

        async def propose(tool: Tool, arguments: Mapping[str, Any]) -> PendingApproval:
            own = question.asker_audience or audience
            approval = await self._approvals.propose(
                tool, arguments, caller, caller.place, question.conversation, question.platform, answer_id,
                origin=origin, name=question.asker_name, known_as=own.principals,
            )  # fmt: skip
            return pending(approval)

        return Hands(tools, self._tools.validate, call, propose, search, self._screen)


def caller_of(question: Question, audience: Audience, language: str) -> ToolCaller:
    """Everybody who reads the reply must be allowed what is called for it."""
    return ToolCaller(
        question.asker, question.platform, audience.principals, language,
        channel_of(question.platform, question.conversation) or question.conversation,
        alone=any(principal.startswith("user:") for principal in audience.principals),
    )  # fmt: skip


def pending(approval: Approval) -> PendingApproval:
    return PendingApproval(
        approval.id, approval.tool, approval.title, ordered(approval), approval.arguments_hash,
        approval.expires_at.isoformat(timespec="seconds"), tuple(approval.approvers), approval.state,
    )  # fmt: skip


class _Recorded:
    """Keeps that a tool was called and how it went, also when the answer is stopped meanwhile."""

    def __init__(
        self, sessions: Sessions, question: Question, answer_id: uuid.UUID, tool: Tool, arguments: Mapping[str, Any]
    ) -> None:
        self._sessions = sessions
        self._values = {
            "answer_id": answer_id, "approval_id": None, "platform": question.platform, "person": question.asker,
            "tool": tool.name, "source": tool.source, "arguments": dict(arguments), "writes": tool.writes,
        }  # fmt: skip
        self._started = time.perf_counter()
        self.result: ToolResult

    async def __aenter__(self) -> _Recorded:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        reason = None if error is None else str(error) if isinstance(error, AlmanacError) else "It was broken off."
        status = self.result.status if error is None else getattr(error, "status", None)
        values = {**self._values, "status": status, "error": reason, "seconds": time.perf_counter() - self._started}
        await asyncio.shield(self._write(values))

    async def _write(self, values: Mapping[str, Any]) -> None:
        try:
            async with self._sessions.begin() as session:
                await rows.record_call(session, **values)
        except (SQLAlchemyError, OSError) as failure:  # the call was made all the same
            log.warning("tool.not_recorded", tool=values["tool"], error=type(failure).__name__)
