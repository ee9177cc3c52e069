"""Verdicts on passages, as they are stored beside them: what lacks one of the judge of now, and how it gets it.

Documents are written with theirs (``assistant.database.documents``); what is here is for passages that were written
before there were any, or before the guard changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.guardrails.judged import Judged


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A passage that the judge has not looked at."""

    chunk_id: int
    text: str


def columns(judged: Judged | None) -> dict[str, Any]:
    """The columns of a verdict; empty where there is none."""
    if judged is None:
        return {}
    verdict = judged.verdict
    return {
        "judge": judged.judge, "text_key": judged.text_key, "verdict": verdict.verdict, "score": verdict.score,
        "reasons": list(verdict.reasons),
    }  # fmt: skip


async def lacking(session: AsyncSession, judge: UUID, after: int, limit: int) -> list[Unjudged]:
    """The next passages, by their ids, that have no verdict of this judge."""
    rows = await session.execute(_LACKING, {"judge": judge, "after": after, "limit": limit})
    return [Unjudged(row.id, row.text) for row in rows]


async def lacks(session: AsyncSession, judge: UUID) -> bool:
    """Whether there is such a passage."""
    return bool(await lacking(session, judge, 0, 1))


async def count_lacking(session: AsyncSession, judge: UUID) -> int:
    return int((await session.execute(_COUNT_LACKING, {"judge": judge})).scalar_one())


async def write(session: AsyncSession, found: Mapping[int, Judged]) -> None:
    """Store the verdicts of chunks (by id) in the place of older ones; what is gone meanwhile is passed over."""
    rows = [{"chunk_id": chunk_id, **columns(judged)} for chunk_id, judged in sorted(found.items())]
    await session.execute(_WRITE, {"rows": orjson.dumps(rows).decode()})


# Looked for by the primary keys of both tables, batch by batch; of many passages, by comparing the tables once.
_LACKING = text(
    "SELECT c.id, c.text FROM chunks c WHERE c.id > :after AND NOT EXISTS"
    " (SELECT 1 FROM passage_verdicts v WHERE v.chunk_id = c.id AND v.judge = CAST(:judge AS uuid))"
    " ORDER BY c.id LIMIT :limit"
)
_COUNT_LACKING = text(
    "SELECT count(*) FROM chunks c WHERE NOT EXISTS"
    " (SELECT 1 FROM passage_verdicts v WHERE v.chunk_id = c.id AND v.judge = CAST(:judge AS uuid))"
)
_WRITE = text(
    "INSERT INTO passage_verdicts (chunk_id, judge, text_key, verdict, score, reasons)"
    " SELECT given.* FROM json_to_recordset(CAST(:rows AS json)) AS given(chunk_id bigint, judge uuid, text_key uuid,"
    " verdict text, score float8, reasons text[]) JOIN chunks c ON c.id = given.chunk_id"
    " ORDER BY given.chunk_id FOR KEY SHARE OF c"
    " ON CONFLICT (chunk_id) DO UPDATE SET judge = excluded.judge, text_key = excluded.text_key,"
    " verdict = excluded.verdict, score = excluded.score, reasons = excluded.reasons"
)
