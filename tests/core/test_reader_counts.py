"""The triggers that count readers, under many who write at once: right at the end, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from sqlalchemy import text

from assistant.database import documents
from assistant.database.session import Sessions
from tests.core.parts import Page, WordEmbedder, document_ids, prepared, shelve, source

NAMES = ["everyone", "user:a", "user:b", "group:x", "group:y", "group:z"]
COUNTED = "SELECT reader, documents FROM reader_counts WHERE documents <> 0 ORDER BY 1"
TRUE = "SELECT r, count(*) FROM documents, unnest(readers || ''::text) r GROUP BY 1 ORDER BY 1"


async def equal(sessions: Sessions) -> None:
    async with sessions() as session:
        counted, true = [[tuple(row) for row in await session.execute(text(one))] for one in (COUNTED, TRUE)]
    assert counted == true


@pytest.mark.timeout(180)
async def test_writers_beside_each_other_count_right(sessions: Sessions) -> None:
    """As ingestion does it: documents are written, given other readers, and removed, by six at once."""
    embedder = WordEmbedder()
    source_id = await source(sessions, embedder)
    await shelve(sessions, embedder, *(Page(f"{n}.md", "T", (f"Text {n}.",)) for n in range(12)))

    async def writer(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(12):
            readers = tuple(draw.sample(NAMES, draw.randint(1, 3)))
            known = await document_ids(sessions, source_id)
            one = draw.choice(sorted(known.values()) or [0])
            act = draw.random()
            async with sessions.begin() as session:
                if act < 0.4:
                    page = Page(f"{draw.randint(0, 20)}.md", "T", ("Another text.",), readers)
                    await documents.replace(session, source_id, await prepared(page, embedder))
                elif act < 0.8:
                    await documents.update_access(session, one, readers, None, None)
                else:
                    await documents.remove(session, [one])

    await asyncio.wait_for(asyncio.gather(*map(writer, range(6))), 120)
    await equal(sessions)


@pytest.mark.timeout(180)
async def test_transactions_of_one_statement_each_never_wait_in_a_circle(sessions: Sessions, database_url: str) -> None:
    """Past our own lock, too: the names are counted in one order by every statement."""
    await shelve(sessions, WordEmbedder(), *(Page(f"{n}.md", "T", (f"Text {n}.",)) for n in range(24)))

    async def writer(seed: int) -> None:
        draw = random.Random(seed)
        async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
            for _ in range(40):
                some = draw.sample(range(1, 25), 8)  # documents of its own and of others'
                readers = draw.sample(NAMES, draw.randint(1, 4))
                await connection.execute("UPDATE documents SET readers = %s WHERE id = ANY(%s) AND id %% 4 = %s",
                                         (readers, some, seed))  # fmt: skip

    await asyncio.wait_for(asyncio.gather(*map(writer, range(4))), 120)
    await equal(sessions)


@pytest.mark.timeout(180)
async def test_two_long_transactions_that_would_wait_in_a_circle_are_told_apart_by_our_lock(
    sessions: Sessions, database_url: str
) -> None:
    """Who counts in several statements may meet another who counts in the other order. Ingestion takes a lock first."""
    one, two = Page("1.md", "T", ("One.",), ("user:c",)), Page("2.md", "T", ("Two.",), ("user:d",))
    await shelve(sessions, WordEmbedder(), one, two)

    barrier = asyncio.Barrier(2)

    async def both(order: list[tuple[int, str]], locked: bool) -> None:
        async with await AsyncConnection.connect(database_url) as connection:
            if locked:
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (documents.STATISTICS_LOCK,))
            for number, reader in order:
                await connection.execute("UPDATE documents SET readers = %s WHERE id = %s", ([reader], number))
                if not locked and reader == order[0][1]:
                    await barrier.wait()  # each has counted one name and wants the other's

    def together(locked: bool) -> Any:
        one, other = [(1, "user:a"), (1, "user:b")], [(2, "user:b"), (2, "user:a")]
        return asyncio.gather(both(one, locked), both(other, locked), return_exceptions=True)

    found = await asyncio.wait_for(together(locked=False), 60)
    ended = [one for one in found if isinstance(one, psycopg.errors.DeadlockDetected)]
    assert len(ended) == 1  # by Postgres, after a second: what the lock is for
    assert await asyncio.wait_for(together(locked=True), 60) == [None, None]
    await equal(sessions)


async def test_what_is_rolled_back_was_never_counted(sessions: Sessions) -> None:
    source_id = await shelve(sessions, WordEmbedder(), Page("1.md", "T", ("One.",), ("user:a",)))
    [number] = (await document_ids(sessions, source_id)).values()
    async with sessions() as session:
        await documents.update_access(session, number, ["user:b"], None, None)
        await session.rollback()
    await equal(sessions)
    async with sessions() as session:
        assert dict((await session.execute(text(COUNTED))).all()) == {"": 1, "user:a": 1}  # type: ignore[arg-type]
