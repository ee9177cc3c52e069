"""Commands that change something: administrators', written down in the transaction that makes the change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.commands import places
from assistant.commands.context import Context, ago, header
from assistant.commands.places import BadPlace, Place
from assistant.commands.reading import needs
from assistant.commands.replies import Caller, Confirm, Refused, Reply, Table, UploadedFile
from assistant.database import audit
from assistant.database import runs as run_rows
from assistant.database import sources as source_rows
from assistant.knowledge.audience import EVERYONE
from assistant.strings import say

RUNS = 10
KINDS = ("ingest", "remove_source", "reconcile", "finetune", "learn")  # the runs that have a word of their own


async def ingest(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    """A page of the web, for everybody; or the way to choose a file."""
    if not rest:
        raise Refused(needs(caller, "ingest URL|upload", "address"))
    if rest.lower() == "upload":
        return Reply(say("commands.upload_how", caller.language), upload=True)
    return await _add(context, caller, rest, "ingest")


async def sources(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    action, _, argument = rest.partition(" ")
    action, argument = action.lower() or "list", argument.strip()
    if action == "list":
        return await _list(context, caller)
    if action == "add":
        if not argument:
            raise Refused(needs(caller, "sources add LOCATION", "location"))
        return await _add(context, caller, argument, "sources add")
    if action not in ("sync", "remove"):
        raise Refused(say("commands.unknown", caller.language, name=f"sources {action[:40]}".replace("`", "'")))
    source = await _source(context, caller, action, argument)
    return await (_sync(context, caller, source) if action == "sync" else _remove(context, caller, source, confirmed))


async def _list(context: Context, caller: Caller) -> Reply:
    async with context.sessions() as session:
        found = await source_rows.listed(session)
    if not found:
        return Reply(say("commands.no_sources", caller.language))
    rows: tuple[tuple[str, ...], ...] = tuple(
        (str(row.id), row.name, row.kind, str(row.documents), str(row.failures), ago(row.synced_at, caller.language))
        for row in found
    )
    text = say("commands.sources_text", caller.language, count=len(rows))
    names = header("commands.source_header", caller.language)
    if any(row.error for row in found):  # one more column, when there is something in it
        names = (*names, say("commands.source_error", caller.language))
        rows = tuple((*cells, row.error or "") for cells, row in zip(rows, found, strict=True))
    return Reply(text, table=Table(names, rows))


async def _add(context: Context, caller: Caller, location: str, action: str) -> Reply:
    place = _place(context, caller, location)
    async with context.sessions.begin() as session:
        source_id, new = await add_source(session, place)
        await _record(session, caller, action, place.location)
        run_id, _ = await run_rows.request(session, "ingest", source_id)
    await context.queue.enqueue(run_id)
    text = say("commands.source_added" if new else "commands.source_known", caller.language, name=place.name)
    return Reply(text, run_id=run_id)


async def add_source(session: AsyncSession, place: Place) -> tuple[int, bool]:
    """The source's id, and whether it is new. A folder inside a known one belongs to that; a page comes back."""
    if place.kind == "folder":
        return await source_rows.ensure_folder(session, place.location, place.config, place.minutes)
    source_id, new = await source_rows.ensure(
        session, place.kind, place.location, place.name, (EVERYONE,), place.config, place.minutes
    )
    if place.kind == "page":
        await source_rows.remember(session, source_id, place.location)
    return source_id, new


def _place(context: Context, caller: Caller, words: str) -> Place:
    """What somebody wants read. Of this machine, chat may name only what a setting allows."""
    try:
        place = places.read(words)
    except BadPlace as error:
        raise Refused(say(f"commands.{error.key}", caller.language, **error.values)) from None
    if not place.location.startswith("/"):
        return place
    folder = Path(place.location).resolve()
    allowed = [root.resolve() for root in context.settings.source_folders]
    if not any(folder == root or root in folder.parents for root in allowed):
        raise Refused(say("commands.folder_not_allowed", caller.language, folder=str(folder)))
    return replace(place, location=str(folder), name=folder.name)


async def _source(context: Context, caller: Caller, action: str, argument: str) -> source_rows.SourceRow:
    number = argument.removeprefix("#")
    if not number:
        raise Refused(needs(caller, f"sources {action} NO", "source"))
    async with context.sessions() as session:
        found = await source_rows.listed(session, int(number)) if number.isdecimal() and len(number) < 18 else []
    if not found:
        raise Refused(say("commands.no_source", caller.language, number=argument[:40]))
    return found[0]


async def _sync(context: Context, caller: Caller, source: source_rows.SourceRow) -> Reply:
    if source.kind == "upload":
        raise Refused(say("commands.source_fixed", caller.language))
    async with context.sessions.begin() as session:
        await _record(session, caller, "sources sync", source.location)
        run_id, _ = await run_rows.request(session, "ingest", source.id)
    await context.queue.enqueue(run_id)
    return Reply(say("commands.source_syncing", caller.language, name=source.name), run_id=run_id)


async def _remove(context: Context, caller: Caller, source: source_rows.SourceRow, confirmed: bool) -> Reply:
    if not confirmed:
        sentence = say("commands.source_remove", caller.language, name=source.name, documents=source.documents)
        button = say("commands.remove", caller.language)
        return Reply(sentence, confirm=Confirm(sentence, button, f"sources remove {source.id}"))
    async with context.sessions.begin() as session:
        await _record(session, caller, "sources remove", source.location, {"documents": source.documents})
        run_id = await run_rows.create(session, "remove_source", {"source": source.id})
    await context.queue.enqueue(run_id)
    return Reply(say("commands.source_removing", caller.language, name=source.name), run_id=run_id)


async def runs(context: Context, caller: Caller, rest: str, _confirmed: bool) -> Reply:
    action, _, argument = rest.partition(" ")
    if action.lower() == "retry":
        return await _retry(context, caller, argument.strip())
    if action:
        raise Refused(say("commands.unknown", caller.language, name=f"runs {action[:40]}".replace("`", "'")))
    async with context.sessions() as session:
        found = await run_rows.recent(session, RUNS)
    if not found:
        return Reply(say("commands.no_runs", caller.language))
    rows = tuple(_run_row(row, caller.language) for row in found)
    text = say("commands.runs_text", caller.language, count=len(rows))
    return Reply(text, table=Table(header("commands.runs_header", caller.language), rows))


def _run_row(row: run_rows.RunRow, language: str) -> tuple[str, ...]:
    progress = row.progress
    done = f"{progress.get('done', 0)}/{progress.get('total', 0)}"
    kind = say(f"commands.kind_{row.kind}", language) if row.kind in KINDS else row.kind
    begun = ago(row.created_at, language)
    return row.id.hex[:8], kind, row.state, done, str(progress.get("failed", 0)), begun, row.error or ""


async def _retry(context: Context, caller: Caller, number: str) -> Reply:
    if not number:
        raise Refused(needs(caller, "runs retry NO", "run"))
    async with context.sessions.begin() as session:
        run = await run_rows.by_prefix(session, number.lower())
        if run is None:
            raise Refused(say("commands.no_run", caller.language, number=number[:40]))
        if not await run_rows.retry(session, run.id):
            raise Refused(say("commands.run_not_failed", caller.language, number=run.id.hex[:8]))
        await _record(session, caller, "runs retry", str(run.id))
    await context.queue.enqueue(run.id)
    return Reply(say("commands.run_retried", caller.language, number=run.id.hex[:8]), run_id=run.id)


async def forget(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    if not rest:
        raise Refused(needs(caller, "forget DOCUMENT", "document"))
    words = rest.strip('<>"“”')
    async with context.sessions() as session:
        found = await source_rows.named(session, words)
    if not found:
        raise Refused(say("commands.no_document", caller.language, words=words[:200]))
    if len(found) > 1:
        rows = tuple((f"#{row.id}", row.title, row.url or row.external_id) for row in found)
        text = say("commands.many_documents", caller.language, words=words[:200])
        return Reply(text, table=Table(header("commands.document_header", caller.language), rows))
    document = found[0]
    if not confirmed:
        sentence = say("commands.forget_sure", caller.language, title=document.title)
        return Reply(
            sentence, confirm=Confirm(sentence, say("commands.forget", caller.language), f"forget #{document.id}")
        )
    async with context.sessions.begin() as session:
        answers = await source_rows.forget(session, document, caller.person)
        await _record(session, caller, "forget", document.external_id, {"title": document.title, "answers": answers})
    return Reply(say("commands.forgotten", caller.language, title=document.title, answers=answers))


async def upload(context: Context, caller: Caller, file: UploadedFile) -> Reply:
    size, limit = len(file.content) / 2**20, context.settings.file_max_mb
    if size > limit:
        values = {"name": file.name, "size": f"{size:.1f}", "limit": f"{limit:g}"}
        raise Refused(say("commands.file_too_large", caller.language, **values))
    if not file.content:
        raise Refused(say("commands.file_empty", caller.language, name=file.name))
    async with context.sessions.begin() as session:
        name = caller.place_name or caller.place
        source_id, _ = await source_rows.ensure(session, "upload", caller.place, name, (caller.place,))
        kept = await source_rows.keep_upload(
            session, source_id, file.external_id, file.name, file.url, file.content
        )  # fmt: skip
        await source_rows.remember(session, source_id, file.external_id)
        await _record(session, caller, "upload", f"{file.name} ({file.external_id})", {"place": caller.place})
        run_id = await run_rows.create(session, "ingest", {"upload": str(kept)})
    await context.queue.enqueue(run_id)
    return Reply(say("commands.ingesting", caller.language, name=file.name), run_id=run_id)


async def _record(
    session: AsyncSession, caller: Caller, action: str, target: str, details: dict[str, Any] | None = None
) -> None:
    await audit.record(session, caller.person, caller.platform, action, target, details)
