"""Calls that change something wait for a person. All of it is held by code and by the row's lock, not by prompts.

``waiting`` becomes ``running`` in one short transaction, by one person who may, for exactly the call that was proposed;
then the call is made, outside any transaction, with the approval's id as its idempotency key; and its end is kept in a
second one. A process that dies in between leaves ``running`` behind, whose lease runs out: such a call is not made
again but said to be ``unknown``, unless the tool is known to honour the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import timedelta

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import approvals as rows
from assistant.database.approvals import Approval, Standing
from assistant.database.session import Sessions
from assistant.errors import AlmanacError, NotFound
from assistant.tools.model import Arguments, Tool, ToolCaller, arguments_hash
from assistant.tools.rights import Refusal, concerns, definition_hash, refusal
from assistant.tools.running import LEASE, SYSTEM, Runner, Tools, caller_of, record

log = structlog.get_logger()

MAX_ATTEMPTS = 3  # of a call that may be made again

__all__ = ["Approval", "Approvals", "Refusal"]


class Approvals:
    """Proposals, decisions, and the one call that follows. ``minutes``: how long a proposal waits."""

    def __init__(self, sessions: Sessions, tools: Tools, minutes: float) -> None:
        self._sessions = sessions
        self._tools = tools
        self._runner = Runner(sessions, tools)
        self._lasts = timedelta(minutes=minutes)

    # what is asked for

    async def propose(
        self,
        tool: Tool,
        arguments: Arguments,
        requester: ToolCaller,
        place: str,
        conversation: str,
        platform: str,
        answer_id: uuid.UUID | None,
        *,
        origin: uuid.UUID | None = None,
        name: str = "",
        known_as: Iterable[str] = (),
    ) -> Approval:
        """Keep a call until somebody decides; a question that comes again finds the proposal that it made before.

        ``origin`` is the stored event that asks, which a redelivered question shares; without one, the answer counts.
        ``known_as``: the principals of the requester alone. Raises ``ToolError`` where the arguments do not fit.
        """
        given = dict(self._tools.validate(tool, arguments))
        caller = {
            "as": {**asdict(requester), "principals": sorted(requester.principals)}, "known_as": sorted(known_as),
            "order": [name for name in tool.parameters.get("properties", ()) if name in given],
        }  # fmt: skip
        values = {
            "id": uuid.uuid4(), "origin": origin or answer_id or uuid.uuid4(), "answer_id": answer_id,
            "platform": platform, "conversation": conversation, "place": place, "requester": requester.person,
            "requester_name": name, "language": requester.language, "tool": tool.name, "source": tool.source,
            "title": tool.title or tool.name, "call": tool.call, "arguments": given,
            "call_hash": arguments_hash(tool, given), "definition_hash": definition_hash(tool),
            "approvers": list(tool.approvers), "caller": caller,
        }  # fmt: skip
        async with self._sessions.begin() as session:
            approval, new = await rows.propose(session, values, self._lasts)
            if new:
                await record(session, approval, requester.person, platform, "approval propose")
        log.info("approval.proposed", id=approval.number, tool=tool.name, platform=platform, new=new)
        return approval

    async def get(self, approval_id: uuid.UUID) -> Approval | None:
        async with self._sessions() as session:
            return await rows.find(session, approval_id)

    async def by_number(self, number: str) -> Approval:
        """The one that people call so: the first signs of its id."""
        async with self._sessions() as session:
            found = await rows.by_prefix(session, number.strip().lower().lstrip("#"))
        if found is None:
            raise Refusal("no_such", number=number[:40])
        return found

    async def open_for(self, person: str, principals: Collection[str]) -> list[Approval]:
        """What waits for this person's word, and what the person waits for; the oldest first."""
        async with self._sessions() as session:
            found = await rows.waiting(session)
        return [approval for approval in found if concerns(approval, person, principals)]

    # what is decided

    async def decide(
        self, approval_id: uuid.UUID, person: str, principals: Collection[str], approve: bool, arguments_hash: str,
        *, name: str = "", platform: str = "",
    ) -> Approval:  # fmt: skip
        """Take one decision and, where it is yes, make the call. What was decided before stands, and is returned.

        ``arguments_hash`` is that of the call which the person saw. Raises ``Refusal`` where the person may not decide,
        ``NotFound`` where there is no such approval.
        """
        approval = await self.get(approval_id)
        if approval is None:
            raise NotFound("There is no such approval.")
        if (refused := refusal(approval, person, principals, approve)) is not None:
            raise refused
        if approval.state != "waiting":
            return approval
        tool = await self._tool(approval) if approve else None  # may ask a server, so before the lock is taken
        who = {"decided_by": person, "decided_name": name, "decided_at": func.now()}
        async with self._sessions.begin() as session:
            standing = await rows.lock(session, approval_id)
            assert standing is not None
            if standing.approval.state != "waiting":
                return standing.approval
            if ended := await self._ended(session, standing):
                return ended
            if reason := self._changed(standing.approval, tool, arguments_hash, approve):
                return await self._void(session, standing.approval, reason, person, platform)
            if not approve:
                denied = await rows.change(session, approval_id, state="denied", finished_at=func.now(), **who)
                await record(session, denied, person, platform, "approval deny")
                return denied
            running = await rows.change(
                session, approval_id, state="running", running_until=func.now() + LEASE, attempts=1, **who
            )
            await record(session, running, person, platform, "approval approve")
        assert tool is not None
        return await self._runner.run(running, tool)

    def _changed(self, approval: Approval, tool: Tool | None, seen: str, approve: bool) -> str:
        """Why this is not the call that was proposed, as a key; "" where it is."""
        if not approve:
            return ""
        if seen != approval.arguments_hash:
            return "void_arguments"
        if tool is None:
            return "void_gone"
        if arguments_hash(tool, approval.arguments) != approval.arguments_hash:
            return "void_arguments"
        if definition_hash(tool) != approval.definition_hash:
            return "void_tool"
        return ""

    async def _tool(self, approval: Approval) -> Tool | None:
        """The tool as it is now, where the requester may still use it."""
        offered = await self._tools.tools_for(caller_of(approval))
        return next((tool for tool in offered if (tool.source, tool.name) == (approval.source, approval.tool)), None)

    # what time does

    async def expire(self) -> list[Approval]:
        """Close what is out of time or withdrawn, and settle what a dead process was running; returns what changed."""
        async with self._sessions() as session:
            due = await rows.due(session)
        changed = []
        for approval_id in due:
            if (approval := await self._settle(approval_id)) is not None:
                changed.append(approval)
        return changed

    async def _settle(self, approval_id: uuid.UUID) -> Approval | None:
        approval = await self.get(approval_id)
        tool = await self._tool_again(approval) if approval is not None and approval.state == "running" else None
        async with self._sessions.begin() as session:
            standing = await rows.lock(session, approval_id)
            if standing is None:
                return None
            approval = standing.approval
            if approval.state == "waiting":
                return await self._ended(session, standing)
            if approval.state != "running" or not standing.overdue:
                return None
            if tool is None:
                return await self._lost(session, approval)
            again = await rows.change(
                session, approval_id, running_until=func.now() + LEASE, attempts=approval.attempts + 1
            )  # fmt: skip
            await record(session, again, SYSTEM, approval.platform, "approval again")
        return await self._runner.run(again, tool)

    async def _tool_again(self, approval: Approval) -> Tool | None:
        """The tool, where sending the same key again does nothing twice; None where it might."""
        if approval.attempts >= MAX_ATTEMPTS:
            return None
        try:
            tool = await self._tool(approval)
        except AlmanacError:
            return None
        same = tool is not None and tool.idempotent and definition_hash(tool) == approval.definition_hash
        return tool if same else None

    async def _lost(self, session: AsyncSession, approval: Approval) -> Approval:
        values = {"state": "unknown", "reason": None, "finished_at": func.now(), "running_until": None}
        lost = await rows.change(session, approval.id, **values)
        await record(session, lost, SYSTEM, approval.platform, "approval unknown", before=approval.before)
        log.warning("approval.unknown", id=approval.number, tool=approval.tool)
        return lost

    async def _ended(self, session: AsyncSession, standing: Standing) -> Approval | None:
        """The approval closed, where its question is withdrawn or its time is up."""
        if standing.withdrawn:
            return await self._void(session, standing.approval, "void_withdrawn", SYSTEM, "")
        if not standing.late:
            return None
        expired = await rows.change(session, standing.approval.id, state="expired", finished_at=func.now())
        await record(session, expired, SYSTEM, expired.platform, "approval expire")
        return expired

    async def _void(
        self, session: AsyncSession, approval: Approval, reason: str, person: str, platform: str
    ) -> Approval:
        void = await rows.change(session, approval.id, state="void", reason=reason, finished_at=func.now())
        await record(session, void, person, platform or approval.platform, "approval void", reason=reason)
        log.warning("approval.void", id=approval.number, tool=approval.tool, reason=reason)
        return void
