"""A real MCP server, by the package's own server: ``python -m tests.tools.mcp_server [PORT [TOKEN]]``.

Without a port it speaks over standard input and output, else over streamable HTTP. Its list of tools has pages.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

HIDDEN = "\u202e\u200b\U000e0041"  # a direction, a space without width, a letter of the tags block
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/Node"}},
    "$defs": {"Node": {"type": "object", "properties": {"name": {"type": "string"}, "kids": {
        "type": "array", "items": {"$ref": "#/$defs/Node"}}}}},
}  # fmt: skip
READS = types.ToolAnnotations(read_only_hint=True)
TOOLS = [
    types.Tool(name="echo", title="Say it again", description=f"Says it again.{HIDDEN} {'word ' * 900}",
               input_schema=TEXT, annotations=READS),
    types.Tool(name="write_note", description="Keeps a note.", input_schema=TEXT),
    types.Tool(name="notes", description="All notes.", input_schema={"type": "object"}, annotations=READS),
    types.Tool(name="tree", description="A tree.", input_schema=TREE, annotations=READS),
    types.Tool(name="slow", description="Takes its time.", input_schema={"type": "object"}, annotations=READS),
    types.Tool(name="die", description="Ends the server.", input_schema={"type": "object"}, annotations=READS),
    types.Tool(name="die_writing", description="Ends the server.", input_schema={"type": "object"}),
    types.Tool(name="picture", description="A picture.", input_schema={"type": "object"}, annotations=READS),
    types.Tool(name="fails", description="Fails.", input_schema={"type": "object"}, annotations=READS),
    types.Tool(name="environment", description="What it sees.", input_schema={"type": "object"}, annotations=READS),
]  # fmt: skip
PAGE = 4


class State:
    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []


def create(state: State) -> Server[Any]:
    async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        at = int(params.cursor) if params and params.cursor else 0
        more = str(at + PAGE) if at + PAGE < len(TOOLS) else None
        return types.ListToolsResult(tools=TOOLS[at : at + PAGE], next_cursor=more)

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        match params.name:
            case "echo":
                return said(arguments["text"])
            case "write_note":
                meta = dict(params.meta or {})
                state.notes.append({"text": arguments["text"], "key": meta.get("idempotencyKey")})
                return said("kept")
            case "notes":
                return types.CallToolResult(content=[], structured_content={"notes": state.notes})
            case "tree":
                return types.CallToolResult(content=[], structured_content={"result": arguments})
            case "slow":
                await asyncio.sleep(30)
            case "die" | "die_writing":
                os._exit(3)
            case "picture":
                return types.CallToolResult(content=[
                    types.TextContent(text="Here it is."),
                    types.ImageContent(data="aGVsbG8=", mime_type="image/png"),
                ])  # fmt: skip
            case "fails":
                return types.CallToolResult(content=[types.TextContent(text="The disk is full.")], is_error=True)
            case "environment":
                seen = {"variables": sorted(os.environ), "secret": os.environ.get("NOTES_KEY")}
                return types.CallToolResult(content=[], structured_content=seen)
        raise ValueError(params.name)

    return Server("notes", on_list_tools=list_tools, on_call_tool=call_tool)


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])


async def over_stdio() -> None:
    if os.environ.get("BROKEN"):
        print("notes: the configuration is wrong", file=sys.stderr)
        sys.exit(2)
    server = create(State())
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def over_http(port: int, token: str | None) -> None:
    import uvicorn

    app = create(State()).streamable_http_app(host="127.0.0.1")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and token is not None:
            given = dict(scope["headers"]).get(b"authorization", b"").decode()
            if given != f"Bearer {token}":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    await uvicorn.Server(uvicorn.Config(guarded, host="127.0.0.1", port=port, log_level="warning")).serve()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(over_http(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
    else:
        asyncio.run(over_stdio())
