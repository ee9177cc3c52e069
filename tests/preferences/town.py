"""A town whose people ask, read and vote: guides that help, beside diaries that use the same words more often."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

from sqlalchemy import update

from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Done, Question, Usage, Vote
from assistant.database import answers, preferences
from assistant.database.session import Sessions, create_reading_engine, create_sessions
from assistant.database.tables import Vote as VoteRow
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit, Searcher
from assistant.models.port import Brief, Written
from assistant.preferences import loop
from assistant.preferences.policy import Policies
from assistant.settings import Settings, load_settings
from assistant.telemetry import Metrics
from tests.core.parts import Page, WordEmbedder, shelve

THINGS = (
    "gateway", "mailer", "ledger", "printer", "scheduler", "crawler", "indexer", "archive", "billing", "checkout",
    "courier", "dispatcher", "exporter", "forecast", "inventory", "jukebox",
)  # fmt: skip
PEOPLE = ("slack:T1:ANN", "slack:T1:BEN", "slack:T1:CLEO", "slack:T1:DAN", "slack:T1:EVE")


def asks(thing: str) -> str:
    return f"How do I restart the {thing}?"


def guide(thing: str, readers: tuple[str, ...] = ("everyone",), more: str = "") -> Page:
    text = f"Take the {thing} out of the pool, do its restart there, and put it back once its light is green.{more}"
    return Page(f"{thing}-guide.md", f"Restart the {thing}", (text,), readers)


def diary(thing: str) -> Page:
    text = f"On Monday we had to restart the {thing}. Nobody could say why the {thing} would not restart."
    return Page(f"{thing}-diary.md", "Notes of the week", (text,))


def pages() -> list[Page]:
    return [page for thing in THINGS for page in (guide(thing), diary(thing))]


class Reader:
    """A model that cites the guide, wherever it stands; or, where ``fooled``, the diary."""

    name = "reader"
    fooled = False

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        kind = "diary" if self.fooled else "guide"
        numbers = [
            n for n, hit in enumerate(brief.passages, start=1) if kind in hit.external_id and self._fits(brief, hit)
        ]
        text = f"{brief.passages[numbers[0] - 1].text.split('.')[0]} [{numbers[0]}]." if numbers else "Nothing."
        yield text
        yield Written(text, supported=bool(numbers), usage=Usage(1, 1, 0.0))

    @staticmethod
    def _fits(brief: Brief, hit: Hit) -> bool:
        return any(thing in brief.question and thing in hit.external_id for thing in THINGS)

    async def close(self) -> None:
        """Nothing to close."""


class Town:
    """Asks through the use case, under row-level security; learns as the worker does."""

    def __init__(self, sessions: Sessions, url: str, **settings: object) -> None:
        self.sessions = sessions
        self.embedder = WordEmbedder()
        self.settings: Settings = load_settings(_env_file=None, **settings)
        self.engine = create_reading_engine(url)
        self.policies = Policies(sessions, seconds=0.0)
        self.searcher = Searcher(create_sessions(self.engine), self.embedder, policies=self.policies)
        self.model = Reader()
        self.answering = Answering(sessions, self.searcher, self.model, Metrics(), max_chars=4_000, timeout=60)  # type: ignore[arg-type]

    async def open(self, more: Sequence[Page] = ()) -> None:
        await shelve(self.sessions, self.embedder, *pages(), *more)

    async def close(self) -> None:
        await self.policies.close()
        await self.engine.dispose()

    async def ask(self, words: str, person: str = PEOPLE[0], conversation: str | None = None, *groups: str) -> Answer:
        audience = Audience(frozenset({"everyone", *groups}))
        question = Question(words, person, audience, "slack", conversation or uuid.uuid4().hex, language="en")
        async with aclosing(self.answering.ask(question)) as events:
            async for event in events:
                if isinstance(event, Done):
                    assert event.answer.reference is None, event.answer  # else it failed
                    return event.answer
        raise AssertionError("no answer")

    async def vote(self, answer: Answer, person: str, value: int = 1, days_ago: float = 0.0, reason: str = "") -> None:
        async with self.sessions.begin() as session:
            assert await answers.save_vote(session, Vote(answer.id, person, value, reason or None))
            if days_ago:
                of = (VoteRow.answer_id == answer.id, VoteRow.person == person)
                when = VoteRow.updated_at - timedelta(days=days_ago)
                await session.execute(update(VoteRow).where(*of).values(updated_at=when))

    async def votes(
        self, things: Sequence[str] = THINGS, people: Sequence[str] = PEOPLE[:3], value: int = 1, days_ago: float = 0.0
    ) -> None:
        """Everybody reads the answers about everything, and likes them (or not)."""
        for thing in things:
            answer = await self.ask(asks(thing))
            for person in people:
                await self.vote(answer, person, value, days_ago)

    @property
    def parts(self) -> loop.Parts:
        return loop.Parts(self.settings, self.sessions, self.searcher, self.embedder)

    async def learn(self) -> preferences.Version | None:
        """One run; None where there was nothing new."""
        made = await loop.make(self.parts, _nobody_watches, simulated=False)
        if made is None:
            return None
        async with self.sessions.begin() as session:
            version = await loop.keep(session, uuid.uuid4(), made, self.settings)
        await self.policies.refresh()
        return version

    async def first(self, thing: str, lot: str | None = None) -> str:
        """Which kind of page comes first."""
        found = await self.searcher.search(asks(thing), audience=Audience.everyone(), lot=lot)
        return found.hits[0].external_id.removeprefix(f"{thing}-").removesuffix(".md")

    async def firsts(self) -> list[str]:
        return [await self.first(thing) for thing in THINGS]


async def _nobody_watches(done: int, total: int) -> None:
    assert done <= total
