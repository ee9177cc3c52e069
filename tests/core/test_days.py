"""The day of a document is kept beside it, and is the one that ranking takes it for."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import select, text

from assistant.database.session import Sessions
from assistant.database.tables import Document
from assistant.knowledge.recency import day
from tests.core.parts import Page, WordEmbedder, shelve

SAID = ["2024-03-05", "2024-03", "2024-03-05T10:00:00Z", "2024-13-05", "2023-02-29", "0000-01-01", "9999-12-31",
        "spring", "", "20240305", None, " 2024-03-05", "2024-3-5", "2024-03-5", "2024-03-00"]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_column_is_what_ranking_says_whatever_is_written(sessions: Sessions, seed: int) -> None:
    draw = random.Random(seed)
    await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("A text.",)))
    for _ in range(60):
        details = {name: value for name in ("updated", "modified") if (value := draw.choice(SAID)) is not None}
        read = datetime(2025, draw.randint(1, 12), 1, draw.randint(0, 23), 59, tzinfo=UTC)
        async with sessions.begin() as session:
            changed = text("UPDATE documents SET details = CAST(:details AS jsonb), indexed_at = :read")
            await session.execute(changed, {"details": json.dumps(details), "read": read})
            kept = (await session.execute(select(Document.day))).scalar_one()
        assert kept == day(details, read), details


async def test_whatever_zone_the_server_thinks_in(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), Page("a.md", "A", ("A text.",)))
    async with sessions.begin() as session:
        await session.execute(text("SET LOCAL TimeZone = 'Asia/Tokyo'"))
        await session.execute(text("SET LOCAL DateStyle = 'SQL, DMY'"))
        await session.execute(text("UPDATE documents SET indexed_at = '2025-06-01 23:30:00+00'"))
        assert (await session.execute(select(Document.day))).scalar_one() == date(2025, 6, 1)
