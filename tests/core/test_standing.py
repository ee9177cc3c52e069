"""What the index holds, told to somebody: of the sources and documents that they may read, as the reader's role."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text

from assistant.commands import Commands
from assistant.commands.context import Context
from assistant.commands.replies import Caller
from assistant.database import documents, overview
from assistant.database.session import Sessions
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.search import Searcher
from assistant.queue import RunQueue
from assistant.settings import Settings
from tests.core.parts import Page, WordEmbedder, document_ids, shelve

PEOPLE = [f"user:email:{name}@example.com" for name in ("anna", "ben", "cleo")]


def page(number: int, *readers: str) -> Page:
    return Page(f"{number}.md", f"Page {number}", (f"What page {number} says.",), readers)


async def counted(reading: Sessions, audience: Audience) -> int:
    async with reading() as session:
        return sum(source.documents for source in await overview.readable_sources(session, audience))


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_number_is_that_of_the_readable_documents_after_every_change(
    sessions: Sessions, reading: Sessions, seed: int
) -> None:
    draw = random.Random(seed)
    readers = {f"{n}.md": set(draw.sample([EVERYONE, *PEOPLE], draw.randint(1, 2))) for n in range(12)}
    source_id = await shelve(sessions, WordEmbedder(), *(page(n, *readers[f"{n}.md"]) for n in range(12)))
    ids = await document_ids(sessions, source_id)
    for _ in range(15):
        who = frozenset(draw.sample([EVERYONE, *PEOPLE, "user:email:nobody@example.com"], draw.randint(1, 3)))
        assert await counted(reading, Audience(who)) == sum(bool(some & who) for some in readers.values())
        name = draw.choice(sorted(readers))
        readers[name] = {draw.choice([EVERYONE, *PEOPLE])}
        async with sessions.begin() as session:
            await documents.update_access(session, ids[name], sorted(readers[name]), None, None)


async def test_a_source_of_which_nothing_may_be_read_is_not_named(sessions: Sessions, reading: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), page(1, PEOPLE[0]))
    async with reading() as session:
        assert await overview.readable_sources(session, Audience.everyone()) == []


async def test_the_command_status_counts_nothing_that_its_caller_may_not_read(
    sessions: Sessions, reading: Sessions
) -> None:
    await shelve(sessions, WordEmbedder(), page(1, EVERYONE), page(2, PEOPLE[0]), page(3, PEOPLE[0]))
    async with sessions.begin() as session:
        await session.execute(
            text("INSERT INTO document_failures (source_id, external_id, reason) SELECT id, 'x.pdf', 'y' FROM sources")
        )
    searcher = Searcher(reading, WordEmbedder())
    context = Context(Settings(_env_file=None), sessions, searcher, RunQueue(None), "extractive", "words")
    commands = Commands(context)

    async def told(audience: Audience, admin: bool = False) -> str:
        caller = Caller("u", "slack", audience, admin, "en", "channel:slack:T1:C1")
        return (await commands.run("status", caller)).text

    mine = await told(Audience.everyone())
    assert "**1 documents** in 1 sources that you may read" in mine
    assert "could not be read" not in mine
    assert "**3 documents**" in await told(Audience(frozenset({EVERYONE, PEOPLE[0]})))
    assert "Nothing has been read yet" in await told(Audience(frozenset({PEOPLE[1]})))
    assert "**3 documents** in 1 sources. " in await told(Audience.everyone(), admin=True)
