"""All tools of all sources: who may use which, arguments checked, calls made. Approval is enforced here, in code.

A source that cannot be reached is left out and tried again later; it never holds up an answer for long.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from assistant.errors import SettingsError
from assistant.settings import Settings
from assistant.tools import schema
from assistant.tools.api import ApiTools, BadSource, Source
from assistant.tools.auth import Secrets
from assistant.tools.config import ApiSource, SourceConfig, complain, read_tools_file
from assistant.tools.model import (
    Arguments,
    NotAllowed,
    Tool,
    ToolCaller,
    ToolError,
    ToolResult,
    arguments_hash,
)
from assistant.tools.naming import function_name, unique
from assistant.tools.pace import Pace

log = structlog.get_logger()
PATIENCE = 3.0  # seconds that an answer waits for a source that is not connected yet
AGAIN = (5.0, 15.0, 60.0, 300.0)  # seconds until a source that failed is tried again
FRESH = 300.0  # seconds for which a source's list of tools is taken as it is


@dataclass(slots=True)
class _Shelf:
    """One source, what it offered last, and when it is asked again."""

    source: Source
    config: SourceConfig
    pace: Pace | None
    tools: tuple[Tool, ...] = ()
    due: float = 0.0
    failures: int = 0
    error: str = ""
    asking: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source is: ``tools`` it offers; ``error`` is a sentence where it cannot be reached."""

    name: str
    tools: int
    error: str = ""


class Toolbox:
    """Built by ``open``; ``close`` ends its connections and processes."""

    def __init__(self, shelves: Sequence[_Shelf] = ()) -> None:
        self._shelves = {shelf.config.name: shelf for shelf in shelves}
        self._reserved: set[str] = set()
        for shelf in shelves:
            if isinstance(shelf.source, ApiTools) and shelf.source.known:
                self._put(shelf, shelf.source.known)

    @classmethod
    def open(cls, settings: Settings) -> Toolbox:
        """Reads tools.yaml and the documents beside it; connects to nothing. Raises ``SettingsError``."""
        path = settings.tools_file
        if path is None:
            return cls()
        file, secrets = read_tools_file(path), Secrets(settings)
        unknown = sorted(set(settings.tool_servers) - {source.name for source in file.sources})
        if unknown:
            raise SettingsError(f"ALMANAC_TOOL_SERVERS names {unknown[0]}, and {path} has no such source.")
        shelves = []
        for number, config in enumerate(file.sources):
            try:
                source = _source(config, settings, secrets)
            except BadSource as error:
                raise complain(path, ("sources", number, *error.location), str(error)) from None
            shelves.append(_Shelf(source, config, Pace(*config.per_period) if config.per_period else None))
        return cls(shelves)

    @property
    def empty(self) -> bool:
        """Whether there is no source at all."""
        return not self._shelves

    @property
    def unreachable(self) -> list[str]:
        """A sentence for each source that could not be reached when it was asked last."""
        return [shelf.error for shelf in self._shelves.values() if shelf.error]

    async def tools_for(self, caller: ToolCaller) -> Sequence[Tool]:
        """What the caller may use, in the order of tools.yaml."""
        return [tool for tool in await self.all() if tool.open_to(caller)]

    async def all(self, patience: float = PATIENCE) -> Sequence[Tool]:
        """Every tool of every source that can be reached; waits ``patience`` seconds at most, and for new ones only."""
        waiting = [
            task for shelf in self._shelves.values()
            if (task := self._refresh(shelf)) and not shelf.tools and not shelf.failures
        ]  # fmt: skip
        if waiting:
            await asyncio.wait(waiting, timeout=patience)
        return [tool for shelf in self._shelves.values() for tool in shelf.tools]

    async def find(self, name: str, caller: ToolCaller) -> Tool:
        """The tool of that name that the caller may use, or ``NotAllowed``, which does not tell which it was."""
        for tool in await self.tools_for(caller):
            if tool.name == name:
                return tool
        raise NotAllowed(f"There is no tool called {name[:64]}.")

    def validate(self, tool: Tool, arguments: object) -> dict[str, Any]:
        """The arguments as they would be sent; raises ``BadArguments``, whose sentence names the field."""
        return schema.validate(tool, arguments)

    async def call(
        self,
        tool: Tool,
        arguments: Arguments,
        caller: ToolCaller,
        idempotency_key: str | None = None,
        approved: str | None = None,
    ) -> ToolResult:
        """Makes the call once; raises ``ToolError``.

        ``approved`` is the ``arguments_hash`` that a person approved of. A tool that needs an approval runs with no
        other arguments than those.
        """
        shelf = self._shelves.get(tool.source)
        offered = next((one for one in shelf.tools if one.name == tool.name), None) if shelf else None
        if shelf is None or offered is None or not offered.open_to(caller):
            raise NotAllowed(f"There is no tool called {tool.name[:64]}.")
        tool = offered
        checked = self.validate(tool, arguments)
        if tool.needs_approval and approved != arguments_hash(tool, checked):
            raise NotAllowed(f"{tool.name} runs only after a person has approved of exactly this call.")
        if shelf.pace is not None and (wait := shelf.pace.take()):
            raise ToolError(f"{shelf.config.name} is asked too often; try again in {math.ceil(wait)} seconds.")
        return await self._made(shelf, tool, checked, caller, idempotency_key)

    async def _made(
        self, shelf: _Shelf, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None
    ) -> ToolResult:
        began = time.monotonic()
        result: ToolResult | None = None
        error: ToolError | None = None
        try:
            result = await shelf.source.call(tool, arguments, caller, idempotency_key)
        except ToolError as failure:
            error = failure
            raise
        finally:
            log.info(
                "tool.called", tool=tool.name, source=tool.source, writes=tool.writes, platform=caller.platform,
                status=result.status if result else error.status if error else None,
                outcome="done" if result else type(error).__name__ if error else "cancelled",
                seconds=round(time.monotonic() - began, 3),
            )  # fmt: skip
        return result

    async def states(self, patience: float = 10.0) -> list[SourceState]:
        """How each source is, asked now."""
        return list(await asyncio.gather(*(self._state(shelf, patience) for shelf in self._shelves.values())))

    async def _state(self, shelf: _Shelf, patience: float) -> SourceState:
        error = ""
        try:
            async with asyncio.timeout(patience):
                self._put(shelf, await shelf.source.tools())
                await shelf.source.reach()
        except ToolError as failure:
            error = str(failure)
        except TimeoutError:
            error = f"{shelf.config.name} did not answer within {patience:g} seconds."
        return SourceState(shelf.config.name, len(shelf.tools), error)

    def _refresh(self, shelf: _Shelf) -> asyncio.Task[None] | None:
        """The task that asks the source for its tools, where one runs or is due."""
        if shelf.asking is None and time.monotonic() >= shelf.due:
            shelf.asking = asyncio.create_task(self._ask(shelf), name=f"tools-{shelf.config.name}")
        return shelf.asking

    async def _ask(self, shelf: _Shelf) -> None:
        try:
            self._put(shelf, await shelf.source.tools())
            shelf.failures, shelf.error, shelf.due = 0, "", time.monotonic() + FRESH
        except ToolError as error:
            self._failed(shelf, str(error))
        except Exception as error:  # what others send can break whatever reads it
            log.exception("tools.broken", source=shelf.config.name, error=type(error).__name__)
            self._failed(shelf, f"{shelf.config.name} gave an answer that cannot be read.")
        finally:
            shelf.asking = None

    def _failed(self, shelf: _Shelf, sentence: str) -> None:
        shelf.failures += 1
        shelf.error = sentence
        shelf.due = time.monotonic() + AGAIN[min(shelf.failures, len(AGAIN)) - 1]
        log.warning("tools.unreachable", source=shelf.config.name, reason=sentence)

    def _put(self, shelf: _Shelf, tools: Sequence[Tool]) -> None:
        """Names are the same at every start, whatever can be reached: those of files come first, and what is asked
        over the network goes by its source's name, too."""
        known = isinstance(shelf.source, ApiTools) and bool(shelf.source.known) and not shelf.source.remote
        others = self._reserved - {tool.name for tool in shelf.tools}
        named: dict[str, Tool] = {}
        for tool in tools:
            wanted = tool.name if known else function_name(f"{shelf.config.name}_{tool.name}")
            named[unique(wanted, shelf.config.name, named.keys() | others)] = tool
        ours = {tool.name: name for name, tool in named.items()}
        shelf.tools = tuple(replace(tool, name=name, before=ours.get(tool.before, "")) for name, tool in named.items())
        if known:
            self._reserved |= named.keys()

    async def close(self) -> None:
        tasks = [shelf.asking for shelf in self._shelves.values() if shelf.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(shelf.source.close() for shelf in self._shelves.values()))


def _source(config: SourceConfig, settings: Settings, secrets: Secrets) -> Source:
    path = settings.tools_file
    assert path is not None
    if isinstance(config, ApiSource):
        return ApiTools(config, path.resolve().parent, secrets, settings.tool_servers.get(config.name))
    from assistant.tools.mcp import McpTools  # the package takes a second to import, and not everybody needs it

    return McpTools(config, path.resolve().parent, secrets, settings.tool_servers.get(config.name))
