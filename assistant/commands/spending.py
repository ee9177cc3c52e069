"""The command ``spending``: what model calls cost, for administrators."""

from __future__ import annotations

from assistant.commands.context import Context, header
from assistant.commands.replies import Caller, Refused, Reply, Table
from assistant.knowledge.filters import FilterError
from assistant.spending.budget import Budget
from assistant.spending.report import GROUPS, SINCE, CapUse, money, report
from assistant.strings import say

SHOWN = 15


async def spending(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    """``spending [person|channel|model|purpose|day] [7d|2026-11|…]``."""
    language = caller.language
    words = rest.lower().split()
    by = words.pop(0) if words and words[0] in GROUPS else "model"
    since = words.pop(0) if words else SINCE
    if words:
        raise Refused(say("spending.usage", language, groups=", ".join(GROUPS)))
    try:
        async with context.sessions() as session:
            found = await report(session, Budget(context.sessions, context.settings), by, since)
    except FilterError as error:
        raise Refused(error.sentence(language)) from error
    caps = "\n".join(f"- {_cap(use, language)}" for use in found.caps)
    if not found.total.calls:
        return Reply(f"{say('spending.none', language, since=found.since)}\n{caps}")
    total = say(
        "spending.text", language, since=found.since, cost=money(found.total.usd), answers=f"{found.total.answers:,}",
        calls=f"{found.total.calls:,}",
    )  # fmt: skip
    rows = tuple(
        (row.name or "–", f"{row.answers:,}", f"{row.calls:,}", f"{row.prompt_tokens + row.completion_tokens:,}",
         money(row.usd))
        for row in found.rows[:SHOWN]
    )  # fmt: skip
    columns = (say(f"spending.by_{by}", language), *header("spending.header", language))
    return Reply(f"{total}\n{caps}", table=Table(columns, rows))


def _cap(use: CapUse, language: str) -> str:
    parts = [_of(money(use.usd), None if use.cap_usd is None else money(use.cap_usd), language)]
    tokens = _of(f"{use.tokens:,}", None if use.cap_tokens is None else f"{use.cap_tokens:,}", language)
    parts.append(say("spending.tokens", language, tokens=tokens))
    return f"{say(f'spending.used_{use.scope}', language, name=f'`{use.name}`')}: {', '.join(parts)}"


def _of(used: str, cap: str | None, language: str) -> str:
    return used if cap is None else say("spending.of", language, used=used, cap=cap)
