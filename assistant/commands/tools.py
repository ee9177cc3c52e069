"""Tools without a model: a line calls one, a form asks for what is missing, and what waits for somebody's word."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.commands.context import Context, header
from assistant.commands.replies import Caller, Form, Refused, Reply, Table
from assistant.database import approvals as rows
from assistant.strings import say
from assistant.tools import forms
from assistant.tools.approval import Approvals, Refusal
from assistant.tools.forms import FormError
from assistant.tools.model import Tool, ToolCaller, ToolError, ToolResult
from assistant.tools.rights import concerns, principals_of
from assistant.tools.showing import asker, clock, one_line, visible

ROWS, COLUMNS, CELL = 20, 8, 120  # of a result that is shown as a table
TEXT = 3_000  # characters of one that is not


async def tool(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    """``tool``, ``tool NAME``, ``tool NAME argument=value …``."""
    name, _, words = rest.partition(" ")
    asker = await _asker(context, caller)
    offered = await context.toolbox.tools_for(asker)
    if not name:
        return _list(context, offered, caller.language)
    found = next((tool for tool in offered if tool.name.casefold() == name.casefold()), None)
    return await _take(context, caller, asker, name, found, words)


async def submit(context: Context, caller: Caller, name: str, given: Mapping[str, str]) -> Reply:
    """What was filled in on a form. A form with mistakes comes back with them."""
    asker = await _asker(context, caller)
    found = next((tool for tool in await context.toolbox.tools_for(asker) if tool.name == name), None)
    return await _take(context, caller, asker, name, found, given)


async def _take(
    context: Context, caller: Caller, asker: ToolCaller, name: str, found: Tool | None, said: str | Mapping[str, str]
) -> Reply:
    """``said``: a command's words, or a form's fields; a form asks for what is missing in either."""
    if found is None:
        raise Refused(say("approvals.no_tool", caller.language, name=name[:64].replace("`", "'")))
    try:
        given = forms.pairs(said) if isinstance(said, str) else said
        arguments, wrong = forms.typed(found, given, caller.language)
    except FormError as error:
        raise Refused(error.sentence(caller.language)) from None
    if wrong:
        return _ask(found, given, wrong, caller.language)
    return await _call(context, caller, asker, found, arguments)


async def _call(context: Context, caller: Caller, asker: ToolCaller, tool: Tool, arguments: Mapping[str, Any]) -> Reply:
    """A read is made at once; what needs somebody's word is proposed."""
    if tool.needs_approval:
        approval = await _approvals(context, caller).propose(
            tool, arguments, asker, caller.place, caller.place, caller.platform, None, origin=caller.event,
            name=caller.name, known_as=asker.principals,
        )  # fmt: skip
        return Reply(say("approvals.proposed", caller.language), approval=approval)
    started = time.monotonic()
    result: ToolResult | None = None
    failure: ToolError | None = None
    try:
        result = await context.toolbox.call(tool, arguments, asker)
    except ToolError as error:
        failure = error
        raise
    finally:
        async with context.sessions.begin() as session:
            await rows.record_call(
                session, platform=caller.platform, person=caller.person, tool=tool.name, source=tool.source,
                arguments=dict(arguments), writes=tool.writes, seconds=time.monotonic() - started,
                status=result.status if result else failure.status if failure else None,
                error=str(failure) if failure else None,
            )  # fmt: skip
    return _result(tool, result, caller.language)


async def approvals(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    """``approvals``: what waits for the caller's word, and what the caller waits for; ``approvals NO``: its card."""
    held = _approvals(context, caller)
    principals = await principals_of(context.sessions, caller.audience, caller.admin)
    number = rest.split()[-1] if rest else ""  # "approvals show 3d0a4c0c", too
    if number and number != "list":
        try:
            approval = await held.by_number(number)
        except Refusal as error:
            raise Refused(error.sentence(caller.language)) from None
        if not (caller.admin or concerns(approval, caller.person, principals)):
            raise Refused(say("approvals.no_such", caller.language, number=number[:40].replace("`", "'")))
        return Reply(approval=approval, copy=True)
    found = await held.open_for(caller.person, principals)
    if not found:
        return Reply(say("approvals.list_none", caller.language))
    lines = tuple(
        (it.number, it.title, one_line(it, caller.language), asker(it, caller.language), clock(it.expires_at))
        for it in found
    )  # fmt: skip
    text = say("approvals.list", caller.language, count=len(lines)) + " " + say("approvals.list_how", caller.language)
    return Reply(text, table=Table(header("approvals.list_header", caller.language), lines))


def _approvals(context: Context, caller: Caller) -> Approvals:
    if context.approvals is None:
        raise Refused(say("approvals.tools_away", caller.language))
    return context.approvals


async def _asker(context: Context, caller: Caller) -> ToolCaller:
    """Whoever types reads the reply alone, so that what is theirs alone counts."""
    principals = await principals_of(context.sessions, caller.audience, caller.admin)
    return ToolCaller(caller.person, caller.platform, principals, caller.language, caller.place, alone=True)


def _list(context: Context, offered: Sequence[Tool], language: str) -> Reply:
    if not offered:
        return Reply(say("approvals.tools_away" if context.toolbox.empty else "approvals.tools_none", language))
    lines = tuple(
        (tool.name, tool.title or tool.description, say(f"approvals.{'yes' if tool.writes else 'no'}", language))
        for tool in offered
    )
    text = f"{say('approvals.tools', language, count=len(lines))} {say('approvals.tools_how', language)}"
    return Reply(text, table=Table(header("approvals.tools_header", language), lines))


def _ask(tool: Tool, given: Mapping[str, str], wrong: Mapping[str, str], language: str) -> Reply:
    """A form, and in words what it would ask, where there can be none."""
    form = Form(tool.name, tool.title or tool.name, tool.needs_approval, forms.fields(tool), dict(given), dict(wrong))
    said = [
        say("approvals.form_wrong", language, field=name, problem=problem)
        for name, problem in wrong.items()
        if given.get(name)
    ]
    names = ", ".join(f"`{field.name}`" for field in form.fields if field.required)
    needs = say("approvals.form_needs", language, title=form.title, names=names, example=forms.example(tool))
    return Reply("\n".join([*said, needs]), form=form)


def _result(tool: Tool, result: ToolResult, language: str) -> Reply:
    text = say("approvals.called", language, title=visible(tool.title or tool.name))
    if table := _table(result.data):
        return Reply(text, table=table)
    said = "\n".join(visible(line) for line in result.text.splitlines()).replace("```", "'''")
    said = said or say("approvals.nothing_back", language)
    return Reply(f"{text}\n\n```\n{said if len(said) <= TEXT else said[:TEXT] + '…'}\n```")


def _table(data: Any) -> Table | None:
    """A list of flat records as a table; one record as its names and values."""
    while isinstance(data, Mapping) and len(data) == 1 and isinstance(next(iter(data.values())), list):
        data = next(iter(data.values()))
    if isinstance(data, Mapping) and data and all(_flat(value) for value in data.values()):
        return Table(("", ""), tuple((_cell(name), _cell(value)) for name, value in list(data.items())[:ROWS]))
    records = data if isinstance(data, list) else []
    if not records or not all(isinstance(row, Mapping) and all(map(_flat, row.values())) for row in records):
        return None
    names = tuple(dict.fromkeys(name for row in records for name in row))
    if len(names) > COLUMNS or len(records) > ROWS:
        return None
    return Table(names, tuple(tuple(_cell(row.get(name, "")) for name in names) for row in records))


def _flat(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _cell(value: object) -> str:
    said = visible(value if isinstance(value, str) else "" if value is None else str(value))
    return said if len(said) <= CELL else said[: CELL - 1] + "…"
