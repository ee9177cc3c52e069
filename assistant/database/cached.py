"""Answers that may be given again, and the answers that were given so."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import answers
from assistant.database.tables import Answer, Vote
from assistant.database.tables_spending import CachedAnswer, CacheUse

MOST = 20  # entries of one key that are looked at


@dataclass(frozen=True, slots=True)
class Entry:
    """``seen``: chunk -> hash of what the model read of it; ``vector``: half floats."""

    answer_id: uuid.UUID
    seen: Mapping[str, str]
    vector: bytes


async def entries(session: AsyncSession, key: uuid.UUID, age: timedelta) -> list[Entry]:
    """The newest first, without those that were taken back, or that somebody voted down, in whatever place."""
    given_again = select(CacheUse.answer_id).where(CacheUse.source == CachedAnswer.answer_id).correlate(CachedAnswer)
    voted_down = exists().where(
        Vote.value == -1, or_(Vote.answer_id == CachedAnswer.answer_id, Vote.answer_id.in_(given_again))
    )
    statement = (
        select(CachedAnswer.answer_id, CachedAnswer.seen, CachedAnswer.vector)
        .join(Answer, Answer.id == CachedAnswer.answer_id)
        .where(
            CachedAnswer.key == key, CachedAnswer.kept_at > func.now() - age, Answer.withdrawn_at.is_(None), ~voted_down
        )
        .order_by(CachedAnswer.kept_at.desc())
        .limit(MOST)
    )
    return [Entry(*row) for row in await session.execute(statement)]


async def keep(session: AsyncSession, entry: Entry, key: uuid.UUID, age: timedelta) -> None:
    """Keep an answer that is stored already, and forget those that are too old."""
    await session.execute(delete(CachedAnswer).where(CachedAnswer.kept_at < func.now() - age))
    values = {"answer_id": entry.answer_id, "key": key, "seen": dict(entry.seen), "vector": entry.vector}
    await session.execute(insert(CachedAnswer).values(**values).on_conflict_do_nothing())


async def use(session: AsyncSession, source: uuid.UUID, answer_id: uuid.UUID) -> answers.Stored | None:
    """Note that an answer is given again, and read it; None: it has just gone."""
    stored = await answers.by_id(session, source)
    if stored is not None:
        await session.execute(insert(CacheUse).values(answer_id=answer_id, source=source).on_conflict_do_nothing())
    return stored
