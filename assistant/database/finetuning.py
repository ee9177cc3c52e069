"""The versions of fine-tuned models as rows: kept, promoted, tried on a share of conversations, taken back; and who
does not want to be trained on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.outcomes import Outcome
from assistant.database import runs
from assistant.database.evaluations import PLATFORM
from assistant.database.tables import Answer, Chunk, Run, Vote
from assistant.database.tables_finetuning import Adapter, TrainingOptOut
from assistant.errors import AlmanacError, NotFound
from assistant.knowledge.audience import EVERYONE

RUN = "finetune"  # the kind of run
LOCK = 0x414C4D46  # changes of what answers come one after the other
SERVED = ("promoted", "canary")


@dataclass(frozen=True, slots=True)
class Version:
    """``files``: path -> SHA-256; ``bytes``: of all of them; ``location``: the URL of their folder.

    ``share`` is the part of the conversations that it answers: 1 when promoted, and what a canary was given.
    """

    name: str
    base: str
    kind: str  # lora, dpo
    state: str  # candidate, canary, promoted, retired, refused
    share: float
    files: Mapping[str, str]
    bytes: int
    location: str
    report: Mapping[str, Any]
    created_at: datetime
    changed_at: datetime
    run_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Rollback:
    """``withdrawn`` no longer answers; ``in_force`` does now (None: the base model itself)."""

    withdrawn: Version
    in_force: Version | None


async def request_run(session: AsyncSession, arguments: Mapping[str, Any]) -> tuple[uuid.UUID, bool]:
    """A run that trains a version, and whether it is new: one is trained at a time."""
    await _lock(session)
    found = await open_run(session)
    return (found, False) if found is not None else (await runs.create(session, RUN, dict(arguments)), True)


async def open_run(session: AsyncSession) -> uuid.UUID | None:
    """The run that waits or works."""
    statement = select(Run.id).where(Run.kind == RUN, Run.state.in_(("queued", "running"))).limit(1)
    return (await session.execute(statement)).scalar_one_or_none()


async def ask_where_due(session: AsyncSession, days: float) -> None:
    """Ask for a run where the last one, however it ended, began longer than ``days`` ago; 0: never."""
    if days > 0:
        recent = select(Run.id).where(Run.kind == RUN, Run.created_at > func.now() - timedelta(days=days)).limit(1)
        if (await session.execute(recent)).first() is None:
            await request_run(session, {})


async def reserve(session: AsyncSession, base: str, kind: str, run_id: uuid.UUID | None) -> tuple[str, bool]:
    """The name of a version to come, and whether it is there already: a run has one version, however often it tries."""
    if run_id is not None:
        known = select(Adapter.name, Adapter.stored_at).where(Adapter.run_id == run_id)
        found = (await session.execute(known)).first()
        if found is not None:
            return found[0], found[1] is not None
    number = (await session.execute(select(func.nextval(func.pg_get_serial_sequence("adapters", "id"))))).scalar_one()
    name = f"{base}-{kind}-{number:04d}"
    values = {"id": number, "name": name, "base": base, "kind": kind, "run_id": run_id}
    await session.execute(insert(Adapter).values(**values))
    return name, False


async def stored(
    session: AsyncSession, name: str, files: Mapping[str, str], size: int, report: Mapping[str, Any], state: str
) -> None:
    """All its files are where they belong: from now on it is listed."""
    values = {"files": dict(files), "bytes": size, "report": dict(report), "state": state, "stored_at": func.now()}
    await session.execute(update(Adapter).where(Adapter.name == name).values(**values, changed_at=func.now()))


async def find(session: AsyncSession, name: str) -> Version:
    """Raises ``NotFound`` with one sentence."""
    row = await _row(session, name)
    return _version(row)


async def listed(session: AsyncSession, base: str | None = None, states: tuple[str, ...] = ()) -> list[Version]:
    """The newest first; those of one base only, or in some states."""
    statement = select(Adapter).where(Adapter.stored_at.is_not(None)).order_by(Adapter.id.desc())
    if base is not None:
        statement = statement.where(Adapter.base == base)
    if states:
        statement = statement.where(Adapter.state.in_(states))
    return [_version(row) for row in (await session.execute(statement)).scalars()]


async def promote(session: AsyncSession, name: str, share: float | None) -> Version:
    """Let it answer: ``share`` of the conversations, or all of them.

    What was in force is retired by a promotion, and goes on beside a canary; another canary is a candidate again.
    """
    await _lock(session)
    row = await _row(session, name)
    if share is not None and row.state == "promoted":
        raise AlmanacError(f"{name} answers every conversation already; `almanac models rollback` takes that back.")
    other = (Adapter.base == row.base, Adapter.id != row.id)
    await _set(session, *other, Adapter.state == "canary", state="candidate", share=0.0)
    if share is None:
        await _set(session, *other, Adapter.state == "promoted", state="retired", share=0.0)
        await _set(
            session, Adapter.id == row.id, state="promoted", share=1.0, promoted_at=func.now(), rolled_back_at=None
        )
    else:
        await _set(session, Adapter.id == row.id, state="canary", share=share)
    return await find(session, name)


async def rollback(session: AsyncSession, base: str | None) -> Rollback:
    """Take back the last change of what answers: a canary, else the promotion in force.

    In force is then what was promoted before it and not taken back since, or the base. Raises ``NotFound``.
    """
    await _lock(session)
    statement = select(Adapter).where(Adapter.state.in_(SERVED)).order_by(Adapter.changed_at.desc(), Adapter.id.desc())
    if base is not None:
        statement = statement.where(Adapter.base == base)
    served = (await session.execute(statement)).scalars().all()
    if not served:
        raise NotFound("No fine-tuned model answers anything; there is nothing to take back.")
    canary = next((row for row in served if row.state == "canary"), None)
    last = canary or served[0]
    if canary is None:
        await _set(session, Adapter.id == last.id, state="retired", share=0.0, rolled_back_at=func.now())
        before = await _before(session, last)
        if before is not None:
            await _set(session, Adapter.id == before.id, state="promoted", share=1.0)
    else:
        await _set(session, Adapter.id == last.id, state="retired", share=0.0, rolled_back_at=func.now())
    in_force = select(Adapter.name).where(Adapter.base == last.base, Adapter.state == "promoted")
    now = (await session.execute(in_force)).scalar_one_or_none()
    return Rollback(await find(session, last.name), None if now is None else await find(session, now))


async def withdraw(session: AsyncSession, name: str) -> Version:
    """No longer list it, so that its files can be removed; raises ``AlmanacError`` where it answers."""
    await _lock(session)
    row = await _row(session, name)
    if row.state in SERVED:
        raise AlmanacError(f"{name} is {row.state}; only what answers nothing can be removed.")
    version = _version(row)
    await session.execute(update(Adapter).where(Adapter.id == row.id).values(stored_at=None))
    return version


async def forget(session: AsyncSession, name: str) -> None:
    """Delete the row of what was withdrawn, or never stored."""
    await session.execute(delete(Adapter).where(Adapter.name == name, Adapter.stored_at.is_(None)))


async def opt_out(session: AsyncSession, person: str, out: bool) -> None:
    """Whether models may be trained on the person's questions and votes."""
    if out:
        await session.execute(insert(TrainingOptOut).values(person=person).on_conflict_do_nothing())
    else:
        await session.execute(delete(TrainingOptOut).where(TrainingOptOut.person == person))


async def opted_out(session: AsyncSession, person: str) -> bool:
    statement = select(TrainingOptOut.person).where(TrainingOptOut.person == person)
    return (await session.execute(statement)).first() is not None


@dataclass(frozen=True, slots=True)
class Voted:
    """An answer that people judged, in sum. ``passages``: what it cites, by the numbers in its text."""

    id: uuid.UUID
    question: str
    text: str
    votes: int
    passages: tuple[str, ...]


async def voted_answers(session: AsyncSession) -> list[Voted]:
    """Answers with more votes up than down, or the other way round, that a model may be trained on, oldest first.

    Left out: private and withdrawn ones, what was asked to measure, questions and votes of people who do not want it,
    and answers that cite a passage which is gone, or which not everybody may read.
    """
    out = select(TrainingOptOut.person)
    votes = func.sum(Vote.value)
    statement = (
        select(Answer.id, Answer.question, Answer.text, votes, Answer.citations)
        .join(Vote, Vote.answer_id == Answer.id)
        .where(
            Answer.outcome == Outcome.ANSWERED.value, ~Answer.private, Answer.withdrawn_at.is_(None),
            Answer.platform != PLATFORM, Answer.asker.not_in(out), Vote.person.not_in(out),
        )
        .group_by(Answer.id)
        .having(votes != 0)
        .order_by(Answer.created_at, Answer.id)
    )  # fmt: skip
    rows = [row for row in await session.execute(statement) if row[4]]
    wanted = {int(item["chunk_id"]) for row in rows for item in row[4]}
    for_everyone = select(Chunk.id, Chunk.text).where(Chunk.id.in_(wanted), Chunk.readers.contains([EVERYONE]))
    texts = {row.id: row.text for row in await session.execute(for_everyone)}
    return [
        Voted(row[0], row[1], row[2], int(row[3]), tuple(texts[int(item["chunk_id"])] for item in row[4]))
        for row in rows
        if all(int(item["chunk_id"]) in texts for item in row[4])
    ]


async def _before(session: AsyncSession, last: Adapter) -> Adapter | None:
    statement = (
        select(Adapter)
        .where(
            Adapter.base == last.base, Adapter.state == "retired", Adapter.promoted_at.is_not(None),
            Adapter.rolled_back_at.is_(None), Adapter.stored_at.is_not(None),
        )
        .order_by(Adapter.promoted_at.desc())
        .limit(1)
    )  # fmt: skip
    return (await session.execute(statement)).scalar_one_or_none()


async def _row(session: AsyncSession, name: str) -> Adapter:
    statement = select(Adapter).where(Adapter.name == name, Adapter.stored_at.is_not(None))
    row = (await session.execute(statement.execution_options(populate_existing=True))).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no fine-tuned model {name[:80]}; `almanac models list` shows those there are.")
    return row


async def _set(session: AsyncSession, *which: Any, **values: Any) -> None:
    await session.execute(update(Adapter).where(*which).values(**values, changed_at=func.now()))


async def _lock(session: AsyncSession) -> None:
    await session.execute(select(func.pg_advisory_xact_lock(LOCK)))


def _version(row: Adapter) -> Version:
    return Version(
        row.name, row.base, row.kind, row.state, row.share, row.files, row.bytes, row.name, row.report, row.created_at,
        row.changed_at, row.run_id,
    )  # fmt: skip
