"""``almanac approvals``: which calls wait for somebody's word, the exact call of each, and the word itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.errors import AlmanacError
from assistant.knowledge.audience import EVERYONE
from assistant.tools.approval import Approvals
from assistant.tools.registry import Toolbox
from assistant.tools.rights import ADMINISTRATORS, may_decide
from assistant.tools.showing import as_json, asker, clock, one_line, shown, status
from bot import administration_work as common
from bot import console as show
from bot import state
from bot.backend import command_settings, open_sessions
from bot.flags import JsonFlag, YesFlag
from bot.sample_tools import with_sample

app = typer.Typer(help="Calls of tools that wait for somebody's word.", invoke_without_command=True)
NumberArgument = Annotated[str, typer.Argument(help="The call's number, as `almanac approvals` shows it.")]
PRINCIPALS = frozenset({ADMINISTRATORS, EVERYONE})  # whoever sits here can read the settings, and so administrates
SHOWN = 20
COLOURS = {"waiting": "yellow", "running": "yellow", "done": "green", "failed": "red", "unknown": "red"}
T = TypeVar("T")


@app.callback(
    epilog="Examples: almanac approvals  ·  almanac approvals show 3d0a4c0c  ·  almanac approvals approve 3d0a"
)
def approvals(context: typer.Context) -> None:
    """Calls that change something wait here for an administrator, or for whom their tool names."""
    if context.invoked_subcommand is None:
        list_approvals()


@app.command("list", epilog="Examples: almanac approvals list  ·  almanac approvals list --all --json")
def list_approvals(
    all_of_them: Annotated[bool, typer.Option("--all", help="Also those that were decided; the newest.")] = False,
    json: JsonFlag = False,
) -> None:
    """What waits, the oldest first."""

    async def find(held: _Held) -> list[Approval]:
        await held.approvals.expire()
        async with held.sessions() as session:
            return await (rows.recent(session, SHOWN) if all_of_them else rows.waiting(session))

    found = _with_approvals(find)
    if json:
        show.print_json({"approvals": [as_json(approval) for approval in found]})
        return
    console = Console(highlight=False)
    if not found:
        console.print(Text("No call waits for anybody.", style="dim"))
        return
    console.print(_table(found, decided=all_of_them))


@app.command("show", epilog="Example: almanac approvals show 3d0a4c0c --json")
def show_approval(number: NumberArgument, json: JsonFlag = False) -> None:
    """One call, whole: its arguments, who asked, who may decide, how it stands."""
    _tell(_with_approvals(lambda held: held.approvals.by_number(number)), json)


@app.command("approve", epilog="Examples: almanac approvals approve 3d0a4c0c  ·  almanac approvals approve 3d0a --yes")
def approve_call(number: NumberArgument, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Show the exact call, ask once more, and run it once."""
    ended = _with_approvals(lambda held: _decide(held, number, approve=True, yes=yes))
    _tell(ended, json)
    if ended.state != "done":
        raise typer.Exit(1)


@app.command("deny", epilog="Example: almanac approvals deny 3d0a4c0c")
def deny_call(number: NumberArgument, json: JsonFlag = False) -> None:
    """Nothing is run."""
    ended = _with_approvals(lambda held: _decide(held, number, approve=False, yes=True))
    _tell(ended, json)
    if ended.state != "denied":
        raise typer.Exit(1)


async def _decide(held: _Held, number: str, *, approve: bool, yes: bool) -> Approval:
    approval, person = await held.approvals.by_number(number), common.person()
    if approval.state == "waiting" and may_decide(approval, person, PRINCIPALS) and not yes:
        show.error_console().print(card(approval))
        common.confirm("Run exactly this, once?", yes)
    return await held.approvals.decide(
        approval.id, person, PRINCIPALS, approve, approval.arguments_hash, name=person, platform="terminal"
    )


class _Held:
    """The approvals, and the sessions that they stand on."""

    def __init__(self, sessions: Any, approvals: Approvals) -> None:
        self.sessions = sessions
        self.approvals = approvals


def _with_approvals(work: Callable[[_Held], Awaitable[T]]) -> T:
    settings = command_settings()
    settings = with_sample(settings, state.find(settings.home))

    async def run() -> T:
        async with AsyncExitStack() as stack:
            sessions, _ = await stack.enter_async_context(open_sessions(settings))
            toolbox = Toolbox.open(settings)
            stack.push_async_callback(toolbox.close)
            return await work(_Held(sessions, Approvals(sessions, toolbox, settings.approval_minutes)))

    return common.run(run())


def card(approval: Approval) -> Panel:
    """The exact call, and how it stands."""
    view = shown(approval, "en", values=20_000)
    colour = COLOURS.get(view.state, "white")
    lines: list[Any] = [Text(view.call, style="dim")]
    width = max((len(name) for name, _ in view.rows), default=0)
    lines += [Text.assemble((f"{name.ljust(width)}  ", "cyan"), value) for name, value in view.rows]
    lines += ["", *(Text(note, style="dim") for note in view.notes), Text(f"{view.status}.", style=f"bold {colour}")]
    for heading, told in (("Result", view.result), ("Before", view.before)):
        lines += [Text(heading, style="dim"), Text(told)] if told else []
    title = Text.assemble((view.title, "bold"), (f"  {approval.number}", "dim"))
    return Panel(Group(*lines), title=title, title_align="left", border_style=colour, expand=False, padding=(0, 1))


def _table(found: list[Approval], decided: bool) -> Table:
    """``decided``: with how each stands; else all of them wait."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("No.", no_wrap=True)
    for heading in ("Call", "Arguments", "Asked by", "How it stands" if decided else "Until (UTC)"):
        table.add_column(heading, overflow="fold")
    for approval in found:
        how = Text(status(approval, "en"), style=COLOURS.get(approval.state, "dim"))
        table.add_row(
            Text(approval.number, style="bold"), Text(approval.title), Text(one_line(approval, "en")),
            Text(asker(approval, "en")), how if decided else clock(approval.expires_at),
        )  # fmt: skip
    return table


def _tell(approval: Approval, json: bool) -> None:
    if json:
        show.print_json(as_json(approval))
        return
    if approval.state in ("void", "expired"):
        raise AlmanacError(f"{status(approval, 'en')}.")
    Console(highlight=False).print(card(approval))
