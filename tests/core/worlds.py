"""Worlds of random people, groups and pages, by seed, in which nothing of a page may reach whoever may not read it.

Tests watch one world, ``python -m bench.permissions`` many.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database import documents, groups
from assistant.database.session import Sessions
from assistant.knowledge.audience import EVERYONE, Audience
from assistant.knowledge.search import Searcher
from assistant.models.extractive import ExtractiveModel
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, Page, WordEmbedder, document_ids, shelve

EMBEDDER = WordEmbedder()
WORDS = "deploy rollback ferry ledger queue cache disk token alert shift backup invoice node pager release".split()
PEOPLE = [f"user:email:{name}@example.com" for name in ("anna", "ben", "cleo", "dan")]
GROUPS = ["group:confluence:x", "group:confluence:y"]


class World:
    """Pages whose every text names its page by a word of its own, so that any trace of it can be told."""

    def __init__(self, seed: int, sessions: Sessions, reading: Sessions) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.sessions = sessions
        self.reading = reading
        self.readers: dict[str, set[str]] = {}
        self.members: dict[str, set[str]] = {}
        self.source_id = 0

    def page(self, mark: str) -> Page:
        words = " ".join(self.random.choices(WORDS, k=self.random.randint(4, 12)))
        readers = self.random.sample([EVERYONE, *PEOPLE, *GROUPS], self.random.randint(1, 2))
        self.readers[mark] = set(readers)
        texts = (f"The {words} of {mark}.", f"{mark} {self.random.choice(WORDS)} always.")
        return Page(mark, f"Title {mark}", texts, tuple(readers), f"https://docs.example/{mark}")

    async def fill(self, number: int) -> None:
        pages = [self.page(f"mark{n:03d}x") for n in range(number)]
        self.source_id = await shelve(self.sessions, EMBEDDER, *pages)
        await self.regroup()

    async def regroup(self) -> None:
        self.members = {group: set(self.random.sample(PEOPLE, self.random.randint(0, 3))) for group in GROUPS}
        async with self.sessions.begin() as session:
            await session.execute(text("DELETE FROM group_members"))
            for group, members in self.members.items():
                for member in members:
                    await session.execute(
                        text("INSERT INTO group_members VALUES (:source, :group, :member)"),
                        {"source": self.source_id, "group": group, "member": member},
                    )

    async def revoke(self) -> None:
        """One page is deleted, or gets other readers."""
        mark = self.random.choice(sorted(self.readers))
        number = (await document_ids(self.sessions, self.source_id))[mark]
        async with self.sessions.begin() as session:
            if self.random.random() < 0.3:
                await documents.remove(session, [number])
                del self.readers[mark]
            else:
                self.readers[mark] = set(self.random.sample([EVERYONE, *PEOPLE, *GROUPS], 1))
                await documents.update_access(session, number, sorted(self.readers[mark]), None, None)

    def visible(self, principals: frozenset[str]) -> set[str]:
        """By the rules alone, beside any SQL."""
        mine = principals | {group for group, members in self.members.items() if members & principals}
        return {mark for mark, readers in self.readers.items() if readers & mine}


def traces(world: World, *shown: object) -> set[str]:
    everything = " ".join(map(repr, shown))
    return {mark for mark in (f"mark{n:03d}x" for n in range(100)) if mark in everything}


async def asked(answering: Answering, question: Question) -> tuple[Answer, list[Any]]:
    events = [event async for event in answering.ask(question)]
    done = events[-1]
    assert isinstance(done, Done)
    return done.answer, events


async def watched(world: World, rounds: int, shown: Callable[[], list[str]]) -> set[Outcome]:
    """Ask as somebody in each round, and then change who may read what: what is found, answered, kept, counted and
    logged holds no trace of what that audience may not read. ``shown``: what was logged since it was asked last."""
    random_, searcher, outcomes = world.random, Searcher(world.reading, EMBEDDER), set()
    for round_ in range(rounds):
        who = Audience(frozenset(random_.sample([EVERYONE, *PEOPLE], random_.randint(1, 2))))
        words = " ".join([*random_.sample(WORDS, 2), random_.choice([f"mark{random_.randint(0, 29):03d}x", "of"])])
        async with world.sessions() as session:
            whole = await groups.with_groups(session, who)
        may = world.visible(who.principals)
        hits = (await searcher.search(words, audience=whole, limit=100)).hits
        assert {hit.external_id for hit in hits} == may
        model = random_.choice([ExtractiveModel(EMBEDDER), FakeModel("So [1] and [2]."), FakeModel(error=ValueError())])
        answering = Answering(world.sessions, searcher, model, metrics := Metrics(), max_chars=200, timeout=20)
        shown()
        answer, events = await asked(answering, Question(words, "u", who, "web", f"{world.seed}-{round_}"))
        outcomes.add(answer.outcome)
        async with world.sessions() as session:
            stored = (await session.execute(text(
                "SELECT text, citations, nearest, retrieval, reference, timings_ms FROM answers WHERE id = :id"),
                {"id": answer.id})).one()  # fmt: skip
        counted = [sample.labels for family in metrics.registry.collect() for sample in family.samples]
        told = [tuple(stored), events, counted, *shown()]
        assert traces(world, *told) - may - traces(world, words) == set()
        await (world.revoke() if random_.random() < 0.6 else world.regroup())
    return outcomes
