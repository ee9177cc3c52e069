"""An approved call on its way: how things stood, the call itself, and its end, each kept at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import approvals as rows
from assistant.database import audit
from assistant.database.approvals import Approval
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.tools.keeping import kept
from assistant.tools.model import Arguments, Tool, ToolCaller, ToolError, ToolResult

log = structlog.get_logger()

LEASE = timedelta(seconds=30)  # of a call under way; renewed while it is
RENEW_SECONDS = 8.0
BEFORE_SECONDS = 10.0
SYSTEM = "almanac"  # who expires and voids, in the audit


class Tools(Protocol):
    """What approvals need of a ``Toolbox``."""

    async def tools_for(self, caller: ToolCaller) -> Sequence[Tool]: ...

    def validate(self, tool: Tool, arguments: Arguments) -> Arguments: ...

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None = None,
        approved: str | None = None,
    ) -> ToolResult: ...  # fmt: skip


class Runner:
    """Makes a call whose approval is ``running``, under a lease that is renewed while it lasts."""

    def __init__(self, sessions: Sessions, tools: Tools) -> None:
        self._sessions = sessions
        self._tools = tools

    async def run(self, approval: Approval, tool: Tool) -> Approval:
        """Make the call that is ours to make, and keep its end. Stopping in between leaves ``running`` behind."""
        async with self._held(approval):
            before = await self._before(approval, tool)
            state, reason, result = "done", None, None
            started = asyncio.get_running_loop().time()
            try:
                result = await self._tools.call(
                    tool, approval.arguments, caller_of(approval), str(approval.id), approval.arguments_hash
                )
            except ToolError as error:
                state, reason = ("unknown" if error.uncertain else "failed"), str(error)
                result = ToolResult("", error.status)
            except Exception as error:  # whether anything was sent is not known, so it is not said to have failed
                log.exception("approval.broken", id=approval.number, error=type(error).__name__)
                state, reason = "unknown", "The call broke off."
            seconds = asyncio.get_running_loop().time() - started
            return await asyncio.shield(self._finish(approval, tool, state, reason, before, result, seconds))

    async def _before(self, approval: Approval, tool: Tool) -> dict[str, Any] | None:
        """How things stood, where the tool names a read that tells; kept at once, before anything is changed."""
        if not tool.before:
            return None
        try:
            async with asyncio.timeout(BEFORE_SECONDS):
                found = kept(await self._look(approval, tool))
        except (AlmanacError, TimeoutError) as error:  # a look that fails keeps nobody from doing
            found = {"error": str(error) or "It took too long."}
        async with self._sessions.begin() as session:
            await rows.change(session, approval.id, before=found)
        return found

    async def _look(self, approval: Approval, tool: Tool) -> ToolResult:
        caller = caller_of(approval)
        reads = await self._tools.tools_for(caller)
        read = next((it for it in reads if (it.source, it.name) == (tool.source, tool.before)), None)
        if read is None or read.writes:
            raise ToolError(f"There is no read called {tool.before}.")
        known = read.parameters.get("properties", {})
        given = {name: value for name, value in approval.arguments.items() if name in known}
        return await self._tools.call(read, self._tools.validate(read, given), caller)

    async def _finish(
        self, approval: Approval, tool: Tool, state: str, reason: str | None, before: Mapping[str, Any] | None,
        result: ToolResult | None, seconds: float,
    ) -> Approval:  # fmt: skip
        """Keep the end, unless another attempt has. One that was given up while it was under way is known after all."""
        after = kept(result) if result is not None else None
        async with self._sessions.begin() as session:
            standing = await rows.lock(session, approval.id)
            assert standing is not None
            now = standing.approval
            if now.state not in ("running", "unknown") or now.attempts != approval.attempts:
                return now
            ended = await rows.change(
                session, approval.id, state=state, reason=reason, result=after, finished_at=func.now(),
                running_until=None,
            )  # fmt: skip
            by, on = ended.decided_by or SYSTEM, approval.platform
            await record(session, ended, by, on, f"approval {state}", before=before, after=after)
            await rows.record_call(
                session, answer_id=ended.answer_id, approval_id=ended.id, platform=on, person=ended.requester,
                tool=tool.name, source=tool.source, arguments=dict(ended.arguments), writes=True,
                status=result.status if result else None, error=reason, seconds=seconds,
            )  # fmt: skip
        log.info("approval.ran", id=approval.number, tool=tool.name, state=state, seconds=round(seconds, 3))
        return ended

    @contextlib.asynccontextmanager
    async def _held(self, approval: Approval) -> AsyncIterator[None]:
        """The lease of a call under way, renewed until it is over."""
        renewing = asyncio.create_task(self._renew(approval), name=f"approval-{approval.number}")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _renew(self, approval: Approval) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(SQLAlchemyError, OSError):
                async with self._sessions.begin() as session:
                    standing = await rows.lock(session, approval.id)
                    if standing is not None and standing.approval.state == "running":
                        await rows.change(session, approval.id, running_until=func.now() + LEASE)


async def record(
    session: AsyncSession, approval: Approval, person: str, platform: str, action: str, **more: Any
) -> None:
    """Write down what happened to an approval, in the transaction in which it happens."""
    details = {
        "approval": str(approval.id), "requester": approval.requester, "source": approval.source,
        "arguments": dict(approval.arguments), "hash": approval.arguments_hash, **more,
    }  # fmt: skip
    await audit.record(session, person, platform or approval.platform, action, approval.tool, details)


def caller_of(approval: Approval) -> ToolCaller:
    """Whom the call is made as: whoever asked for it."""
    kept = approval.caller["as"]
    return ToolCaller(**{**kept, "principals": frozenset(kept["principals"])})
