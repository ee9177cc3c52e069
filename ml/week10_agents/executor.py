"""Running what a model asked for: the part that all three architectures share, and where the care is.

Idea.    A call passes five questions before it runs: is it JSON, is there such a tool, do the arguments fit its
         schema, was it made before, may it change something. Whoever fails one gets the reason in words, because the
         reader is a model and can mend it. Calls that only read run at the same time; a call that writes is a barrier
         and runs alone.
Source.  Kim et al., "An LLM Compiler for Parallel Function Calling" (2023), for the parallel part.
Left out. Retries inside a tool, undoing a write.

An exception other than ToolError is a bug in a tool. It is not turned into words: it ends the run, so that somebody
sees it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from ml.week10_agents.record import Called, Limits, Outcome, Trace
from ml.week10_agents.schema import explain
from ml.week10_agents.tools import Tool, ToolError, canonical, fingerprint

Asking = tuple[str, Any]  # a tool's name; its arguments, as an object or as the JSON text that the model wrote
LONGEST = 4_000  # characters of a result that go back to the model


class Executor:
    """Runs calls for one run and writes them into its trace. ``approved`` holds the fingerprints that a person allowed;
    each is good for one call."""

    def __init__(self, tools: Iterable[Tool], limits: Limits, trace: Trace, approved: Iterable[str] = ()) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.limits, self.trace = limits, trace
        self.approved = set(approved)
        self._made: dict[str, Called] = {}  # fingerprint -> what that call gave
        self._started = 0

    async def run(self, step: int, askings: Sequence[Asking]) -> list[Called]:
        """Run what may run; the answers come in the order of ``askings``, one for each."""
        answers: list[Called] = []
        for writes, group in groupby(askings, key=self._writes):
            batch = list(group)
            if writes:
                answers += [await self._one(step, asking) for asking in batch]
            else:
                answers += await self._together(step, batch)
        self.trace.called += answers
        return answers

    async def _together(self, step: int, batch: Sequence[Asking]) -> list[Called]:
        first = {self._key(asking): place for place, asking in reversed(list(enumerate(batch)))}
        async with asyncio.TaskGroup() as group:  # a cancelled run cancels its calls: nothing is left running
            tasks = {
                place: group.create_task(self._one(step, asking))
                for place, asking in enumerate(batch)
                if first[self._key(asking)] == place
            }
        done = {place: task.result() for place, task in tasks.items()}
        # Twice the same call in one reply: the second one gets the first one's answer.
        return [done[place] if place in done else await self._one(step, asking) for place, asking in enumerate(batch)]

    async def _one(self, step: int, asking: Asking) -> Called:
        name, arguments = asking
        refusal, arguments = self._refuse(name, arguments)
        started = self.trace.now()
        if refusal:
            outcome, text = refusal
            earlier = self._made[fingerprint(name, arguments)].result if outcome == "repeated" else None
            return Called(step, name, arguments, outcome, text, started, 0.0, earlier)
        self._started += 1
        tool, key = self.tools[name], fingerprint(name, arguments)
        self.approved.discard(key)
        outcome, text, result, temporary = await self._call(tool, arguments)
        called = Called(step, name, arguments, outcome, text, started, self.trace.now() - started, result)
        if not temporary:
            self._made[key] = called
        return called

    def _refuse(self, name: str, arguments: Any) -> tuple[tuple[Outcome, str] | None, Any]:
        """Why this call may not run (None: it may), and its arguments as an object."""
        tool = self.tools.get(name)
        if tool is None:
            return ("unknown", f"There is no tool {name!r}. There are: {', '.join(self.tools)}."), arguments
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError as error:
                return ("invalid", f"The arguments are not JSON ({error})."), arguments
        if objections := explain(arguments, tool.schema):
            return ("invalid", f"The arguments do not fit: {objections}."), arguments
        key = fingerprint(name, arguments)
        if key in self._made:
            return ("repeated", f"You made this call before. It gave: {self._made[key].text}"), arguments
        if tool.writes and key not in self.approved:
            if key not in self.trace.waiting:
                self.trace.waiting.append(key)
            return ("waiting", f"Not done: a person must approve exactly this call first ({key})."), arguments
        if self._started >= self.limits.calls:
            return ("too many", f"No more calls: the limit of {self.limits.calls} is reached. Answer now."), arguments
        return None, arguments

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> tuple[Outcome, str, Any, bool]:
        """The outcome, the result or failure in words, the result, and whether the failure may pass."""
        try:
            async with asyncio.timeout(self.limits.tool_seconds):
                result = await tool.call(**arguments)
        except TimeoutError:
            return "failed", f"{tool.name} did not answer within {self.limits.tool_seconds:g} s.", None, True
        except ToolError as error:
            return "failed", str(error), None, error.temporary
        text = json.dumps(result, ensure_ascii=False)
        return "ok", text if len(text) <= LONGEST else f"{text[:LONGEST]} … (cut)", result, False

    def _writes(self, asking: Asking) -> bool:
        tool = self.tools.get(asking[0])
        return tool is not None and tool.writes

    @staticmethod
    def _key(asking: Asking) -> str:
        name, arguments = asking
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                return f"{name}\n{arguments}"
        return f"{name}\n{canonical(arguments)}"
