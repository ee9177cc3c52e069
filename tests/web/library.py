"""A small library in the index, and models that behave as asked, for the tests of the web page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from assistant.answering.messages import Usage
from assistant.database import documents
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.errors import ModelError
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.models.port import Brief, Written


@dataclass(frozen=True)
class Page:
    """A document: its passages are (heading path, text)."""

    external_id: str
    title: str
    passages: Sequence[tuple[tuple[str, ...], str]]
    url: str | None = None
    readers: tuple[str, ...] = ("everyone",)
    details: dict[str, str] = field(default_factory=dict)


ROLLBACK = Page(
    "deploy/rollback.md",
    "Rolling back",
    [
        ((), "Roll back when you suspect the last release, not when you have proved it."),
        (
            ("The usual case",),
            "Run this from your own machine:\n\n```sh\nferry rollback parcel-tracker\n```\n\n"
            "This returns production to the version before the current one. It takes about three minutes.",
        ),
        (
            ("How long you have",),
            "| Service | May be rolled back for |\n|---|---|\n| ledger | 45 minutes after promotion |\n"
            "| finder | 6 hours |\n| all others | 24 hours |",
        ),
        (
            ("After a roll-back",),
            "- The hold stays until somebody runs `ferry release`.\n- Revert the commit the same day.",
        ),
    ],
    url="https://handbook.example/deploy/rollback",
    details={"owner": "Platform", "updated": "2026-05-06"},
)
ONCALL = Page(
    "oncall/escalation.md",
    "Escalation",
    [(("SEV1",), "A SEV1 page is acknowledged within 5 minutes. After 10 minutes it goes to the second on call.")],
)
SECRET = Page(
    "people/salaries.md",
    "Salaries",
    [((), "The salary of a principal engineer is 123,456 euros.")],
    readers=("group:people",),
)


async def shelve(sessions: Sessions, embedder: Embedder, *pages: Page) -> None:
    """Write pages into the index, as the ingestion would."""
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await folder_source(session, "/handbook")
        for page in pages:
            await documents.replace(session, source_id, await _prepared(page, embedder))


async def _prepared(page: Page, embedder: Embedder) -> documents.PreparedDocument:
    chunks = [Chunk(ordinal, text, path) for ordinal, (path, text) in enumerate(page.passages)]
    vectors = await _vectors(embedder, tuple(f"{chunk.context(page.title)}\n{chunk.text}" for chunk in chunks))
    content = "".join(chunk.text for chunk in chunks).encode()
    item = SourceItem(page.external_id, page.external_id, content, page.url, page.readers)
    return documents.PreparedDocument(item, ParsedDocument(page.title, (), page.details), chunks, vectors)


_known: dict[tuple[str, ...], Vectors] = {}


async def _vectors(embedder: Embedder, texts: tuple[str, ...]) -> Vectors:
    """Embedded once a run: nearly every test shelves the same pages."""
    if texts not in _known:
        _known[texts] = await embedder.embed(list(texts))
    return _known[texts]


class FakeModel:
    """Writes ``text`` in pieces of ``size`` characters, ``pause`` seconds apart; ``None`` is a passage's own text."""

    name = "fake-1"

    def __init__(self, text: str | None = None, *, pause: float = 0.0, size: int = 12, supported: bool = True) -> None:
        self.text = text
        self.pause = pause
        self.size = size
        self.supported = supported
        self.error: ModelError | None = None
        self.stopped = asyncio.Event()  # set when a stream ended before its text did
        self.asked: list[Brief] = []

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked.append(brief)
        if self.error is not None:
            raise self.error
        text = f"{brief.passages[0].text} [1]" if self.text is None else self.text
        try:
            for start in range(0, len(text), self.size):
                await asyncio.sleep(self.pause)
                yield text[start : start + self.size]
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped.set()
            raise
        yield Written(text, supported=self.supported, usage=Usage(120, 30, 0.0021))

    async def close(self) -> None:
        """Nothing to close."""
