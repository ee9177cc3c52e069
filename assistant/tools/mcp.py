"""One MCP server as a source of tools: a process of this machine (stdio), or a server over streamable HTTP.

The connection is opened when it is first needed, kept, and opened again when it broke. What a server says of its tools
is untrusted: descriptions are cleaned and cut, schemas unfolded within a budget, and a tool is a write unless the
server says that it only reads, or tools.yaml does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp import Client
from mcp.shared.exceptions import MCPError

from assistant.tools.api import BadSource
from assistant.tools.auth import Secrets
from assistant.tools.config import McpSource, Rule
from assistant.tools.mcp_connection import Connection
from assistant.tools.mcp_transport import transport_of
from assistant.tools.model import Arguments, Tool, ToolCaller, ToolError, ToolResult, ToolUnavailable
from assistant.tools.naming import function_name, title
from assistant.tools.openapi import fits
from assistant.tools.openapi_document import BadDocument, Document
from assistant.tools.openapi_schema import Inliner
from assistant.tools.text import clean
from assistant.tools.trimming import Trimmed, trim, trim_text

log = structlog.get_logger()
DESCRIPTION = 1_000  # characters
MAX_PAGES = 50
MAX_TOOLS = 300
KEY = "idempotencyKey"  # in a call's _meta, for servers that keep it


class McpTools:
    """``folder`` is that of tools.yaml, where a command without a folder of its own runs."""

    def __init__(self, config: McpSource, folder: Path, secrets: Secrets, url: str | None = None) -> None:
        self.name = config.name
        self._config = config
        try:
            transport = transport_of(config, folder, secrets, url)
        except LookupError as error:
            raise BadSource(("mcp",), f"names {error}") from None
        self._connection = Connection(config.name, transport, config.timeout)

    async def tools(self) -> Sequence[Tool]:
        found: dict[str, Tool] = {}
        for offered in await self._offered():
            rule = self._rule(offered.name)
            if rule is None:
                continue
            try:
                tool = self._tool(offered, rule)
            except BadDocument as error:
                log.warning("tools.left_out", source=self.name, tool=clean(offered.name, 80), reason=str(error))
                continue
            found.setdefault(tool.name, tool)
        return list(found.values())[:MAX_TOOLS]

    async def _offered(self) -> list[types.Tool]:
        """All pages of the server's list."""
        tools: list[types.Tool] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            try:
                page = await self._connection.run(_page(cursor), self._config.timeout, again=True)
            except MCPError as error:
                raise ToolUnavailable(f"{self.name} does not list its tools: {_said(error)}.") from None
            tools += page.tools
            cursor = page.next_cursor
            if not cursor or cursor in seen or len(tools) >= MAX_TOOLS:
                break
            seen.add(cursor)
        return tools

    def _rule(self, name: str) -> Rule | None:
        exact = [rule for rule in self._config.tools if rule.operation == name]
        return next(iter(exact or [rule for rule in self._config.tools if fits(rule.operation, name)]), None)

    def _tool(self, offered: types.Tool, rule: Rule) -> Tool:
        config, notes = self._config, offered.annotations
        reads = bool(notes and notes.read_only_hint)
        writes = rule.writes if rule.writes is not None else not reads
        approval = next((each for each in (rule.approval, config.approval) if each is not None), writes)
        said = offered.title or (notes.title if notes else None) or ""
        again = rule.idempotent if rule.idempotent is not None else bool(notes and notes.idempotent_hint)
        return Tool(
            name=rule.name or function_name(offered.name),
            description=clean(rule.description or offered.description or said or title(offered.name), DESCRIPTION),
            parameters=_parameters(offered.input_schema),
            writes=writes,
            source=config.name,
            title=rule.title or clean(said, 80) or title(clean(offered.name, 80)),
            approvers=rule.approvers if rule.approvers is not None else config.approvers,
            needs_approval=approval,
            users=rule.users if rule.users is not None else config.users,
            call=offered.name,
            before=function_name(rule.before) if rule.before else "",
            idempotent=again,
        )

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None
    ) -> ToolResult:
        began = time.monotonic()
        rule = self._rule(tool.call) or Rule(operation=tool.call)
        meta: Any = {KEY: idempotency_key} if idempotency_key and tool.writes else None
        timeout = rule.timeout or self._config.timeout
        try:
            result = await self._connection.run(
                lambda client: client.call_tool(tool.call, dict(arguments), timeout, meta=meta),
                timeout, again=not tool.writes, writes=tool.writes,
            )  # fmt: skip
        except MCPError as error:
            raise ToolError(f"{self.name} refused {tool.call}: {_said(error)}.") from None
        trimmed = self._trimmed(result, rule)
        if result.is_error:
            raise ToolError(f"{self.name} did not do {tool.call}: {clean(trimmed.text, 400).rstrip('.')}.")
        return ToolResult(trimmed.text, None, trimmed.data, time.monotonic() - began, trimmed.truncated)

    def _trimmed(self, result: types.CallToolResult, rule: Rule) -> Trimmed:
        fields = rule.fields if rule.fields is not None else self._config.fields
        most, items = self._config.max_tokens, rule.max_items or self._config.max_items
        if result.structured_content is not None and not result.is_error:
            return trim(_unwrapped(result.structured_content), fields, items, most)
        texts = [text for block in result.content if (text := _text(block))]
        if len(texts) == 1:
            try:
                data = orjson.loads(texts[0])
            except ValueError:
                return trim_text(texts[0], most)
            return trim(data, fields, items, most) if isinstance(data, dict | list) else trim_text(texts[0], most)
        return (
            trim_text("\n\n".join(texts), most)
            if texts
            else Trimmed("Done; there is nothing more to say.", None, False)
        )

    async def reach(self) -> None:
        await self.tools()

    async def close(self) -> None:
        await self._connection.close()


def _page(cursor: str | None) -> Callable[[Client], Awaitable[types.ListToolsResult]]:
    return lambda client: client.list_tools(cursor=cursor, cache_mode="bypass")


def _said(error: MCPError) -> str:
    return clean(error.message, 300).rstrip(".") or f"it answered with error {error.code}"


def _parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """The server's schema without references, as an object whatever it was."""
    whole = Inliner(Document({str(key): value for key, value in schema.items()})).convert(schema, None)
    if whole.get("type") != "object":
        raise BadDocument("its arguments are no object")
    whole.setdefault("properties", {})
    return whole


def _unwrapped(data: dict[str, Any]) -> Any:
    """Servers that must answer with an object wrap other results as ``{"result": …}``."""
    return data["result"] if data.keys() == {"result"} else data


def _text(block: Any) -> str:
    """A piece of the answer as text; what is none is named."""
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ResourceLink):
        return f"[{clean(block.title or block.name, 100)}: {clean(block.uri, 300)}]"
    if isinstance(block, types.EmbeddedResource):
        resource = block.resource
        text = getattr(resource, "text", None)
        return (
            text if isinstance(text, str) else f"[a file, {clean(resource.mime_type or 'of no kind', 60)}, not shown]"
        )
    return f"[{clean(block.type, 20)}, {clean(getattr(block, 'mime_type', ''), 60)}, not shown]"
