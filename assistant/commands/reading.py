"""Commands that change nothing. Each takes the rest of its line and says what it found."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from assistant.answering import filtering
from assistant.commands.context import Context, ago, header
from assistant.commands.replies import Caller, Refused, Reply, Table
from assistant.database import audit, groups, overview
from assistant.database import status as counted
from assistant.database.tables import Document
from assistant.strings import say

HITS = 5
ENTRIES = 20


async def ask(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    if not rest:
        raise Refused(needs(caller, "ask QUESTION", "question"))
    return Reply(ask=rest)


async def search(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    if not rest:
        raise Refused(needs(caller, "search WORDS", "words"))
    limit = context.settings.question_max_chars
    if len(rest) > limit:
        raise Refused(say("common.too_long", caller.language, length=f"{len(rest):,}", limit=f"{limit:,}"))
    async with context.sessions() as session:
        audience = await groups.with_groups(session, caller.audience)
    found = await filtering.search(
        context.searcher, rest, audience=audience, limit=HITS, language=caller.language
    )  # fmt: skip
    if not found.hits:
        return Reply(found.note or say("commands.no_hits", caller.language))
    text = say("commands.hits", caller.language, count=len(found.hits))
    return Reply(f"{text} *{found.note}*" if found.note else text, hits=found.hits)


async def status(context: Context, caller: Caller, _rest: str, _confirmed: bool) -> Reply:
    """How the index stands; for who is no administrator, what of it they may read, and no other number."""
    if not caller.admin:
        return await _status_of(context, caller)
    async with context.sessions() as session:
        counts = await counted.counts(session)
        newest = (await session.execute(select(func.max(Document.indexed_at)))).scalar_one()
    text = say(
        "commands.status_text", caller.language, documents=f"{counts['documents']:,}", sources=counts["sources"],
        freshness=_freshness(newest, caller.language), runs=counts["runs_open"], failures=counts["failures"],
    )  # fmt: skip
    return Reply(text)


async def _status_of(context: Context, caller: Caller) -> Reply:
    async with context.sessions() as session:
        audience = await groups.with_groups(session, caller.audience)
    async with context.searcher.sessions() as session:
        known = await overview.readable_sources(session, audience)
    newest = max((source.newest for source in known), default=None)
    documents = sum(source.documents for source in known)
    return Reply(
        say(
            "status.mine", caller.language, documents=f"{documents:,}", sources=len(known),
            freshness=_freshness(newest, caller.language),
        )
    )  # fmt: skip


def _freshness(newest: datetime | None, language: str) -> str:
    if newest is None:
        return say("commands.never_read", language)
    return say("commands.fresh", language, when=ago(newest, language))


async def settings(context: Context, caller: Caller, _rest: str, _confirmed: bool) -> Reply:
    return Reply(settings=True)


async def audit_log(context: Context, caller: Caller, _rest: str, _confirmed: bool) -> Reply:
    async with context.sessions() as session:
        entries = await audit.recent(session, ENTRIES)
    if not entries:
        return Reply(say("commands.audit_empty", caller.language))
    rows = tuple((ago(entry.at, caller.language), entry.person, entry.action, entry.target) for entry in entries)
    text = say("commands.audit_text", caller.language, count=len(rows))
    return Reply(text, table=Table(header("commands.audit_header", caller.language), rows))


def needs(caller: Caller, usage: str, what: str) -> str:
    return say("commands.needs", caller.language, usage=usage, what=say(f"commands.what_{what}", caller.language))
