"""Answers that may be given again, and the answers that were given so."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import answers
from assistant.database.tables_spending import CacheUse

MOST = 20  # entries of one key that are looked at


@dataclass(frozen=True, slots=True)
class Entry:
    """``seen``: chunk -> hash of what the model read of it; ``vector``: half floats."""

    answer_id: uuid.UUID
    seen: Mapping[str, str]
    vector: bytes


async def entries(session: AsyncSession, key: uuid.UUID, age: timedelta) -> list[Entry]:
    """The newest first, without those that were taken back, or that somebody voted down, in whatever place."""
    return [Entry(*row) for row in await session.execute(_ENTRIES, {"key": key, "age": age, "most": MOST})]


async def keep(session: AsyncSession, entry: Entry, key: uuid.UUID, age: timedelta) -> None:
    """Keep an answer that is stored already, and forget those that are too old: one statement."""
    values = {"answer_id": entry.answer_id, "key": key, "seen": dict(entry.seen), "vector": entry.vector, "age": age}
    await session.execute(_KEEP, values)


_ENTRIES = text(
    "SELECT kept.answer_id, kept.seen, kept.vector FROM cached_answers kept JOIN answers a ON a.id = kept.answer_id"
    " WHERE kept.key = :key AND kept.kept_at > now() - CAST(:age AS interval) AND a.withdrawn_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.value = -1 AND (v.answer_id = kept.answer_id"
    " OR v.answer_id IN (SELECT u.answer_id FROM cache_uses u WHERE u.source = kept.answer_id)))"
    " ORDER BY kept.kept_at DESC LIMIT :most"
)
_KEEP = text(
    "WITH gone AS (DELETE FROM cached_answers WHERE kept_at < now() - CAST(:age AS interval))"
    " INSERT INTO cached_answers (answer_id, key, seen, vector) VALUES (:answer_id, :key, :seen, :vector)"
    " ON CONFLICT DO NOTHING"
).bindparams(bindparam("seen", type_=JSONB))


async def use(session: AsyncSession, source: uuid.UUID, answer_id: uuid.UUID) -> answers.Stored | None:
    """Note that an answer is given again, and read it; None: it has just gone."""
    stored = await answers.by_id(session, source)
    if stored is not None:
        await session.execute(insert(CacheUse).values(answer_id=answer_id, source=source).on_conflict_do_nothing())
    return stored
