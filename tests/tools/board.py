"""What the tests of approvals share: an API that counts what it is asked to do, behind two tools."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistant.tools.model import (
    Arguments,
    BadArguments,
    NotAllowed,
    Tool,
    ToolCaller,
    ToolError,
    ToolResult,
    arguments_hash,
)

ANNA, BEN, CARA = "slack:T0TEAM:U0ANNA", "slack:T0TEAM:U0BEN", "slack:T0TEAM:U0CARA"
SERVICE = {"type": "string", "description": "Which service"}
RESTART = Tool(
    name="restart_service",
    description="Restart a service.",
    parameters={
        "type": "object", "properties": {"service": SERVICE, "force": {"type": "boolean"}}, "required": ["service"],
        "additionalProperties": False,
    },
    writes=True,
    source="catalogue",
    title="Restart a service",
    needs_approval=True,
    call="POST /services/{service}/restart",
    before="service_status",
)  # fmt: skip
STATUS = Tool(
    name="service_status",
    description="How a service is doing.",
    parameters={"type": "object", "properties": {"service": SERVICE}, "required": ["service"]},
    source="catalogue",
    title="Status of a service",
    call="GET /services/{service}",
)
CALLER = ToolCaller(ANNA, "slack", frozenset({"everyone", "channel:slack:T0TEAM:C0DEV"}), "en", "C0DEV")


@dataclass
class Board:
    """A toolbox with two tools over services that can be restarted. ``on_call`` may wait, fail, or end the process."""

    tools: list[Tool] = field(default_factory=lambda: [RESTART, STATUS])
    restarts: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)  # of writes that came in, repeated ones included
    done_keys: set[str] = field(default_factory=set)
    callers: list[ToolCaller] = field(default_factory=list)
    file: Path | None = None  # where restarts are kept for other processes
    on_read: Callable[[], Awaitable[object]] | None = None
    on_call: Callable[[], Awaitable[object]] | None = None
    after_call: Callable[[], Awaitable[object]] | None = None

    async def tools_for(self, caller: ToolCaller) -> Sequence[Tool]:
        return [tool for tool in self.tools if tool.open_to(caller)]

    def validate(self, tool: Tool, arguments: Arguments) -> Arguments:
        known: Mapping[str, Any] = tool.parameters["properties"]
        for name in tool.parameters.get("required", ()):
            if name not in arguments:
                raise BadArguments(f"{name} is missing.")
        for name in arguments:
            if name not in known:
                raise BadArguments(f"{name} is no argument.")
        return arguments

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None = None,
        approved: str | None = None,
    ) -> ToolResult:  # fmt: skip
        if not tool.writes:
            if self.on_read is not None:
                await self.on_read()
            name = arguments["service"]
            return ToolResult(f"{name} was restarted {self.restarts.count(name)} times", 200, {"service": name}, 0.01)
        if tool.needs_approval and approved != arguments_hash(tool, arguments):
            raise NotAllowed("Nobody has approved of this.")
        self.keys.append(idempotency_key)
        self.callers.append(caller)
        if self.on_call is not None:
            await self.on_call()
        if not tool.idempotent or idempotency_key not in self.done_keys:
            self._restart(str(arguments["service"]), str(idempotency_key))
        if self.after_call is not None:
            await self.after_call()
        return ToolResult(f"{arguments['service']} restarts", 202, {"restarting": True}, 0.02)

    @property
    def empty(self) -> bool:
        return not self.tools

    async def all(self, patience: float = 3.0) -> Sequence[Tool]:
        return self.tools

    async def close(self) -> None:
        """Nothing to close."""

    def _restart(self, service: str, key: str) -> None:
        self.restarts.append(service)
        self.done_keys.add(key)
        if self.file is not None:
            with self.file.open("a") as kept:
                kept.write(f"{service} {key}\n")

    def change(self, name: str, **values: Any) -> None:
        self.tools = [replace(tool, **values) if tool.name == name else tool for tool in self.tools]

    def fails(self, status: int | None = 503, uncertain: bool = False) -> None:
        async def fail() -> None:
            raise ToolError("The catalogue answered with an error.", status, uncertain)

        self.on_call = fail

    def hangs(self) -> asyncio.Event:
        """The next write waits; the event says that it is there."""
        arrived = asyncio.Event()

        async def wait() -> None:
            arrived.set()
            await asyncio.Event().wait()

        self.on_call = wait
        return arrived
