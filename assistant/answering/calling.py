"""The calls of one answer: checked, made side by side, each of them once, and all written down.

What goes wrong is said to the model in words. A call that changes something is never made here: it is proposed, and a
person decides (``assistant.tools.approval``).
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from assistant.answering.evidence import Evidence
from assistant.answering.messages import PendingApproval, ToolUse, storable
from assistant.answering.prompts import passage, tool_result
from assistant.errors import AlmanacError
from assistant.knowledge.search import Hit
from assistant.models.port import Call, Function
from assistant.tools.model import Tool, ToolError, ToolResult

log = structlog.get_logger()

PARALLEL = 4
MOST_PROPOSALS = 3  # of one answer: nobody reads more cards than that
MOST_CHARACTERS = 8_000  # of a result, as the model reads it
TOO_LATE, BROKEN_OFF = "It did not answer in time.", "It was broken off."
UNKNOWN = " Nobody knows whether it was done."
SEARCH = "search_documents"
SEARCH_TITLE = "Search the documents"
SEARCH_FUNCTION: Function = {
    "type": "function",
    "function": {
        "name": SEARCH,
        "description": "Searches the company's documents (handbook, runbooks, decisions) for passages. The question"
        " itself was searched for already: search for something else, in a few words.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to look for, in a few words"}},
            "required": ["query"],
            "additionalProperties": False,
        },
    },
}


class Screened(Protocol):
    """A guard's word on a text: ``block`` keeps it from the model."""

    @property
    def verdict(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Hands:
    """What an answer may do: all of it under the rights of those who read it.

    ``validate`` and ``call`` raise ``ToolError``; ``search`` finds passages for words of the model's; ``screen`` says
    of each text whether it may be shown to the model.
    """

    tools: Sequence[Tool]
    validate: Callable[[Tool, Mapping[str, Any]], Mapping[str, Any]]
    call: Callable[[Tool, Mapping[str, Any]], Awaitable[ToolResult]]
    propose: Callable[[Tool, Mapping[str, Any]], Awaitable[PendingApproval]]
    search: Callable[[str], Awaitable[Sequence[Hit]]]
    screen: Callable[[Sequence[str]], Awaitable[Sequence[Screened]]] | None = None

    def functions(self) -> list[Function]:
        return [SEARCH_FUNCTION, *(tool.function() for tool in self.tools if tool.name != SEARCH)]


@dataclass(slots=True)
class _Made:
    """How a call went. ``said`` is the sentence for the model, where there is neither a result nor passages."""

    use: ToolUse
    result: ToolResult | None = None
    hits: Sequence[Hit] = ()
    said: str = ""
    number: int | None = None


@dataclass(slots=True)
class Calls:
    """Makes the calls of one answer, until ``close_at`` (the event loop's clock).

    ``uses`` are those that were asked for, in their order, with the numbers of ``evidence``; ``approvals`` those that
    wait.
    """

    hands: Hands
    evidence: Evidence
    close_at: float
    uses: list[ToolUse] = field(default_factory=list)
    approvals: list[PendingApproval] = field(default_factory=list)
    _made: dict[str, asyncio.Task[_Made]] = field(default_factory=dict)
    _proposals: int = 0
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))

    def title(self, call: Call) -> str:
        """What people read while it runs."""
        tool = self._tool(call.name)
        return SEARCH_TITLE if call.name == SEARCH else tool.title or tool.name if tool else ""

    @property
    def record(self) -> tuple[ToolUse, ...]:
        """The calls so far, for an answer that cites none of them."""
        return tuple(replace(use, n=None) for use in self.uses)

    async def step(self, calls: Sequence[Call], number: int) -> list[str]:
        """Makes the calls of one step; what the model is told of each, in their order."""
        begun = [self._begin(call, number) for call in calls]
        try:
            await asyncio.gather(*(task for _, _, task in begun))
        except asyncio.CancelledError:
            self.uses += [_broken_off(use, task) for use, first, task in begun if first]
            raise
        finally:  # nothing goes on alone
            for _, _, task in begun:
                task.cancel()
        told: list[str] = []
        for _, first, task in begun:
            made = task.result()
            again = replace(made.use, outcome="repeated", step=number, milliseconds=0.0)
            self.uses.append(made.use if first else again)
            told.append(await self._told(made, first))
        return told

    def _begin(self, call: Call, step: int) -> tuple[ToolUse, bool, asyncio.Task[_Made]]:
        """The call, whether it is the first of its kind, and its task: the same call is made once."""
        tool = self._tool(call.name)
        title = self.title(call) or call.name[:64]
        arguments = _plain(call.arguments or {})
        use = ToolUse(call.name[:64], storable(title), arguments, "refused", step)
        problem = call.error
        if not problem and tool is None and call.name != SEARCH:
            names = ", ".join([SEARCH, *(known.name for known in self.hands.tools)])
            problem = f"There is no function {call.name[:64]}; there are {names}."
        if not problem and tool is not None:
            try:
                use = replace(use, arguments=_plain(self.hands.validate(tool, call.arguments or {})))
            except ToolError as error:
                problem = str(error)
        if problem:
            return use, True, asyncio.create_task(_refused(use, problem))
        key = json.dumps([call.name, use.arguments], sort_keys=True, ensure_ascii=False)
        first = key not in self._made
        if first:
            self._made[key] = asyncio.create_task(self._make(tool, use), name=f"call-{call.name[:64]}")
        return use, first, self._made[key]

    async def _make(self, tool: Tool | None, use: ToolUse) -> _Made:
        """The call, its time, and its end. Whatever it raises is told to the model, and never more than a sentence."""
        async with self._room:
            started = time.perf_counter()
            made = _Made(use)
            try:
                async with asyncio.timeout_at(self.close_at):
                    await self._do(tool, made)
            except TimeoutError:
                made.said = TOO_LATE + (UNKNOWN if tool is not None and tool.writes else "")
            except AlmanacError as error:
                made.said = str(error)
                use = replace(use, status=getattr(error, "status", None))
            except Exception:  # of a tool: the answer goes on without it
                log.exception("tool.broken", tool=use.tool)
                made.said = "It broke down."
            milliseconds = round((time.perf_counter() - started) * 1000, 2)
            if made.said:
                made.use = replace(use, outcome="failed", error=storable(made.said), milliseconds=milliseconds)
            else:
                made.use = replace(made.use, milliseconds=milliseconds)
            return made

    async def _do(self, tool: Tool | None, made: _Made) -> None:
        arguments = made.use.arguments
        if tool is None:
            query = " ".join(str(arguments.get("query", "")).split())
            if not query:
                raise ToolError("The field query is missing.")
            made.hits = await self.hands.search(query)
            made.use = replace(made.use, outcome="done")
        elif tool.needs_approval:
            self._proposals += 1
            if self._proposals > MOST_PROPOSALS:
                raise ToolError("Enough calls wait for approval already; propose no more.")
            self.approvals.append(await self.hands.propose(tool, arguments))
            made.use = replace(made.use, outcome="proposed")
        else:
            made.result = await self.hands.call(tool, arguments)
            made.use = replace(made.use, outcome="done", status=made.result.status)

    async def _told(self, made: _Made, first: bool) -> str:
        again = "" if first else "You made this call before; it was not made again. "
        if made.use.outcome == "proposed":
            return (
                f"{again}The call was not made. It changes something, so a person is asked to approve of it; that may"
                " take a while. Tell the person who asks that it waits for approval. Do not call it again."
            )
        if made.said:
            return f"{again}Error: {made.said}"
        if made.result is None:
            return again + await self._passages(made.hits)
        if not await self._may_be_read([made.result.text]):
            return f"{again}The result is withheld: it holds instructions that are not the person's."
        return again + self._result(made, made.result)

    def _result(self, made: _Made, result: ToolResult) -> str:
        at = datetime.now(UTC)
        text = result.text[:MOST_CHARACTERS]
        cut = result.truncated or len(text) < len(result.text)
        if made.number is None:
            made.number = self.evidence.result(made.use.tool, made.use.title, storable(text), at)
            made.use = self.uses[-1] = replace(made.use, n=made.number)
        note = "\nIt is longer than that; ask for less at once to see the rest." if cut else ""
        return tool_result(made.number, made.use.title, text, f"{at:%Y-%m-%d %H:%M} UTC") + note

    async def _passages(self, hits: Sequence[Hit]) -> str:
        shown = []
        readable = [hit for hit in hits if await self._may_be_read([hit.text])] if self.hands.screen else list(hits)
        for hit in readable:
            number, new = self.evidence.passage(hit)
            shown.append(passage(number, hit) if new else f"Passage {number} was found again.")
        return "\n\n".join(shown) or "No passage was found."

    async def _may_be_read(self, texts: Sequence[str]) -> bool:
        if self.hands.screen is None:
            return True
        return all(screened.verdict != "block" for screened in await self.hands.screen(texts))

    def _tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.hands.tools if tool.name == name and name != SEARCH), None)


def _broken_off(use: ToolUse, task: asyncio.Task[_Made]) -> ToolUse:
    """What is kept of a call when the answer is stopped; what was over by then was made."""
    if task.done() and not task.cancelled() and task.exception() is None:
        return task.result().use
    return replace(use, outcome="failed", error=BROKEN_OFF)


async def _refused(use: ToolUse, problem: str) -> _Made:
    return _Made(replace(use, error=storable(problem)), said=problem)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON, without what Postgres cannot hold."""
    return {storable(str(name)): _storable(part) for name, part in value.items()}


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
