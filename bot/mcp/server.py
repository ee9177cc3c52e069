"""The protocol's side: lists the tools, checks arguments, and turns whatever happens into a result."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jsonschema
import mcp_types as types
import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from sqlalchemy.exc import SQLAlchemyError

from assistant.database.access import Holder
from assistant.errors import AlmanacError
from bot.mcp.tools import OFFERS, Desk
from bot.web.security import AWAY

log = structlog.get_logger()

INSTRUCTIONS = (
    "Almanac searches the company's own documents and answers from them with citations. Ask with `ask` for an answer,"
    " `search` for passages, `get_document` for a whole document. You see what the person whose key you use may read."
)
_CHECKS = {offer.name: jsonschema.Draft202012Validator(offer.schema) for offer in OFFERS}
_READS = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)

HolderOf = Callable[[Any], Holder]


def create_server(desk: Desk, holder_of: HolderOf) -> Server[Any]:
    """``holder_of`` tells, from the transport's request (None on stdio), whom a call is for."""

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=offer.name, title=offer.title, description=offer.description,
                    input_schema=offer.schema, annotations=_READS,
                )
                for offer in OFFERS
            ]
        )  # fmt: skip

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        arguments = _checked(params)
        said = ""

        async def report(stage: str) -> None:
            nonlocal said
            if stage != said:
                said = stage
                await context.session.report_progress(float(stage == "writing") + 1, 2.0, stage)

        try:
            given = await desk.call(params.name, arguments, holder_of(context.request), report)
        except AlmanacError as error:
            return _failed(str(error))
        except (SQLAlchemyError, OSError) as error:
            log.warning("mcp.database_away", error=type(error).__name__)
            return _failed(AWAY)
        except Exception:
            reference = uuid.uuid4().hex[:8]
            log.exception("mcp.failed", tool=params.name, reference=reference)
            return _failed(f"Something went wrong here; the log has the details under {reference}.")
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=given.text)]
        return types.CallToolResult(content=content, structured_content=given.data)

    return Server(
        "almanac", version=version("almanac"), title="Almanac", instructions=INSTRUCTIONS,
        on_list_tools=list_tools, on_call_tool=call_tool,
    )  # fmt: skip


def _checked(params: types.CallToolRequestParams) -> dict[str, Any]:
    """The arguments, or an error of the protocol that names the field."""
    check = _CHECKS.get(params.name)
    if check is None:
        raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name[:60]!r}.")
    arguments = dict(params.arguments or {})
    wrong = jsonschema.exceptions.best_match(check.iter_errors(arguments))
    if wrong is not None:
        field = ".".join(str(part) for part in wrong.absolute_path)
        raise MCPError(types.INVALID_PARAMS, f"{field}: {wrong.message}"[:300] if field else wrong.message[:300])
    return arguments


def _failed(sentence: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=sentence)], is_error=True)
