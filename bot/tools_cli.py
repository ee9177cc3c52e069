"""``almanac tools``: which tools there are, what each takes, and a call by hand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assistant.database.approvals import Approval
from assistant.errors import AlmanacError
from assistant.settings import Settings
from assistant.tools.approval import Approvals
from assistant.tools.model import Tool, ToolCaller, ToolResult
from assistant.tools.registry import Toolbox
from assistant.tools.rights import ADMINISTRATORS, may_decide
from bot import administration_work as common
from bot import console as show
from bot import state
from bot.approvals_cli import PRINCIPALS, card
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag
from bot.sample_tools import with_sample

app = typer.Typer(help="Which tools there are, what each takes, and a call by hand.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The tool's name, as `almanac tools list` shows it.")]
PATIENCE = 15.0  # seconds for sources that must be asked for their tools
T = TypeVar("T")


@app.command("list", epilog="Examples: almanac tools list  ·  almanac tools list --json")
def list_tools(json: JsonFlag = False) -> None:
    """Every tool: its source, who may use it, and whether a person must approve of each call."""

    async def find(toolbox: Toolbox) -> tuple[Sequence[Tool], list[str]]:
        tools = await toolbox.all(PATIENCE)
        return tools, toolbox.unreachable

    tools, unreachable = _with_toolbox(find)
    if json:
        show.print_json({"tools": [_as_json(tool) for tool in tools], "unreachable": unreachable})
        return
    console = Console(highlight=False)
    _show_list(console, tools)
    for sentence in unreachable:
        console.print(Text(sentence, style="yellow"))


@app.command("show", epilog="Examples: almanac tools show whoIsOnCall  ·  almanac tools show whoIsOnCall --json")
def show_tool(name: NameArgument, json: JsonFlag = False) -> None:
    """One tool: what the model is told of it, what it takes, and the call that is made."""
    tool = _with_toolbox(lambda toolbox: _found(toolbox, name))
    if json:
        show.print_json(_as_json(tool) | {"parameters": tool.parameters})
    else:
        _show_one(Console(highlight=False), tool)


@app.command(
    "call",
    epilog="Examples: almanac tools call whoIsOnCall service=ledger  ·  almanac tools call getService name=finder "
    '--json  ·  almanac tools call getWeather --json-arguments \'{"latitude": 53.8, "longitude": -1.55}\'',
)
def call_tool(
    name: NameArgument,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Its arguments.")] = None,
    json_arguments: Annotated[str | None, typer.Option(help="All arguments as one JSON object, instead.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")] = False,
    json: JsonFlag = False,
) -> None:
    """Call a tool. A read runs at once; a write is shown first, and waits for whoever may approve of it."""

    async def work(toolbox: Toolbox) -> dict[str, Any]:
        tool = await _found(toolbox, name)
        given = toolbox.validate(tool, read_arguments(tool, arguments or [], json_arguments))
        if not tool.needs_approval:
            return _result_json(await toolbox.call(tool, given, caller(tool.users)))
        return await _through_approval(toolbox, tool, given, yes)

    done = _with_toolbox(work)
    if json:
        show.print_json(done)
    else:
        _show_result(Console(highlight=False), done)
    if done.get("state") in ("failed", "unknown", "void", "expired"):
        raise typer.Exit(1)


async def _through_approval(toolbox: Toolbox, tool: Tool, given: Mapping[str, Any], yes: bool) -> dict[str, Any]:
    """Proposed and written down as from everywhere else; decided here where whoever sits here may."""
    person = common.person()
    settings = _settings()
    async with open_sessions(settings) as (sessions, _):
        approvals = Approvals(sessions, toolbox, settings.approval_minutes)
        approval = await approvals.propose(
            tool, given, caller(tool.users), "terminal", "terminal", "terminal", None, name=person, known_as=PRINCIPALS
        )
        if not may_decide(approval, person, PRINCIPALS) or not (yes or sys.stdin.isatty()):
            return _approval_json(approval)
        show.error_console().print(card(approval))
        meant = yes or await asyncio.to_thread(typer.confirm, "Run exactly this?", err=True)
        approval = await approvals.decide(
            approval.id, person, PRINCIPALS, meant, approval.arguments_hash, name=person, platform="terminal"
        )
        return _approval_json(approval)


def caller(users: Sequence[str] = ()) -> ToolCaller:
    """Whoever sits at the terminal can read the settings and so may use whatever they open."""
    return ToolCaller(common.person(), "terminal", PRINCIPALS.union(users), place="terminal", alone=True)


def read_arguments(tool: Tool, pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """``name=value`` by the type that the tool's schema gives the name; text stays text."""
    if document is not None:
        if pairs:
            raise AlmanacError("Arguments come as NAME=VALUE or as --json-arguments, not both.")
        try:
            whole = orjson.loads(document)
        except ValueError:
            raise AlmanacError("--json-arguments is no JSON.") from None
        if not isinstance(whole, dict):
            raise AlmanacError("--json-arguments must be one JSON object.")
        return whole
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise AlmanacError(f"{pair} is no NAME=VALUE.")
        given[name] = _value(value, tool.parameters.get("properties", {}).get(name, {}))
    return given


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "string")
    kinds = set(kind) if isinstance(kind, list | tuple) else {kind}
    if "string" in kinds:
        return text
    try:
        value = orjson.loads(text)
    except ValueError:
        value = text
    if "array" in kinds and not isinstance(value, list):  # symbols=GBP,USD
        inner = schema.get("items", {})
        return [_value(part.strip(), inner if isinstance(inner, Mapping) else {}) for part in text.split(",")]
    return value


def _settings() -> Settings:
    settings = command_settings()
    return with_sample(settings, state.find(settings.home))


def _with_toolbox(work: Callable[[Toolbox], Awaitable[T]]) -> T:
    settings = _settings()

    async def run() -> T:
        toolbox = Toolbox.open(settings)
        try:
            return await work(toolbox)
        finally:
            await toolbox.close()

    if settings.tools_file is None:
        raise AlmanacError(
            "There are no tools: ALMANAC_TOOLS names no tools.yaml, and no Almanac with the sample's tools runs here."
        )
    return common.run(run())


async def _found(toolbox: Toolbox, name: str) -> Tool:
    tools = await toolbox.all(PATIENCE)
    for tool in tools:
        if tool.name == name:
            return tool
    away = f" {' '.join(toolbox.unreachable)}" if toolbox.unreachable else ""
    raise AlmanacError(f"There is no tool {name}; there are {', '.join(tool.name for tool in tools) or 'none'}.{away}")


def _as_json(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name, "title": tool.title, "source": tool.source, "call": tool.call, "writes": tool.writes,
        "needs_approval": tool.needs_approval, "approvers": list(tool.approvers), "users": list(tool.users),
        "as_asker": tool.as_asker, "description": tool.description,
    }  # fmt: skip


def _result_json(result: ToolResult) -> dict[str, Any]:
    return {
        "state": "done", "status": result.status, "seconds": round(result.seconds, 3), "truncated": result.truncated,
        "data": result.data, "text": result.text,
    }  # fmt: skip


def _approval_json(approval: Approval) -> dict[str, Any]:
    return {
        "state": approval.state, "approval": approval.number, "reason": approval.reason, "result": approval.result,
        "approvers": list(approval.approvers),
    }  # fmt: skip


def _approval_words(tool: Tool) -> str:
    return ", ".join(tool.approvers or (ADMINISTRATORS,)) if tool.needs_approval else "none needed"


def _show_list(console: Console, tools: Sequence[Tool]) -> None:
    if not tools:
        console.print("No tool can be reached.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("Name", no_wrap=True)
    for heading in ("What it does", "Source", "Who", "Approval by"):
        table.add_column(heading)
    for tool in tools:
        approval = Text(_approval_words(tool), style="yellow" if tool.needs_approval else "dim")
        who = ", ".join(tool.users) + (" (as themselves)" if tool.as_asker else "")
        table.add_row(Text(tool.name, style="bold"), Text(tool.title), Text(tool.source), Text(who), approval)
    console.print(table)


def _show_one(console: Console, tool: Tool) -> None:
    console.print(Text.assemble((tool.name, "bold"), "  ", (f"{tool.source}: {tool.call}", "dim")))
    console.print(Text(tool.description))
    console.print(Text(f"Who: {', '.join(tool.users)}   Approval by: {_approval_words(tool)}", style="dim"))
    table = Table("Argument", "Kind", "What it is", box=None, padding=(0, 2, 0, 0))
    required = tool.parameters.get("required", ())
    for name, schema in tool.parameters.get("properties", {}).items():
        kind = schema.get("type", "any")
        words = " or ".join(map(str, schema["enum"])) if "enum" in schema else " or ".join(
            kind if isinstance(kind, list) else [kind]
        )  # fmt: skip
        label = Text(name, style="bold") if name in required else Text(f"{name} (optional)")
        table.add_row(label, Text(words), Text(str(schema.get("description", ""))))
    if table.row_count:
        console.print(table)


def _show_result(console: Console, done: Mapping[str, Any]) -> None:
    if "text" in done:
        data = done["data"]
        whole = (
            data if isinstance(data, str) or data is None else orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
        )
        console.print(Text(whole or str(done["text"])))
        return
    words = {"waiting": f"Waiting for {', '.join(done['approvers']) or ADMINISTRATORS}", "done": "Done"}
    said = words.get(str(done["state"]), str(done["state"]).capitalize())
    console.print(Text(f"{said} (approval {done['approval']}).{' ' + done['reason'] if done['reason'] else ''}"))
    text = (done["result"] or {}).get("text")
    if text:
        console.print(Text(str(text)))
