"""What the tests of the core share: pages in the index, an embedder that needs no model, models that behave."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assistant.answering.messages import Usage
from assistant.database import documents
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.knowledge.lexical import tokens
from assistant.knowledge.search import Hit
from assistant.models.port import Brief, Written


class WordEmbedder:
    """Vectors of hashed words: similar where words are shared."""

    name = "words"
    dimensions = 384

    async def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.full((len(texts), self.dimensions), 1e-3, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in tokens(text):
                row[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % self.dimensions] += 1
            row /= np.linalg.norm(row)
        return vectors

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self.embed([text]))[0]
        return vector

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Page:
    """A document of a few passages."""

    external_id: str
    title: str
    passages: tuple[str, ...]
    readers: tuple[str, ...] = ("everyone",)
    url: str | None = None
    headings: tuple[str, ...] = ()

    @property
    def item(self) -> SourceItem:
        content = "\n".join(self.passages).encode()
        return SourceItem(self.external_id, self.external_id, content, self.url, self.readers)

    @property
    def chunks(self) -> list[Chunk]:
        return [Chunk(ordinal, text, self.headings) for ordinal, text in enumerate(self.passages)]


async def source(sessions: Sessions, embedder: Embedder) -> int:
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await folder_source(session, "/handbook")
    return source_id


async def prepared(page: Page, embedder: Embedder) -> documents.PreparedDocument:
    vectors = await embedder.embed([f"{chunk.context(page.title)}\n{chunk.text}" for chunk in page.chunks])
    return documents.PreparedDocument(page.item, ParsedDocument(page.title, ()), page.chunks, vectors)


async def shelve(sessions: Sessions, embedder: Embedder, *pages: Page) -> int:
    """Write pages into the index, one transaction each; returns their source."""
    source_id = await source(sessions, embedder)
    for page in pages:
        ready = await prepared(page, embedder)
        async with sessions.begin() as session:
            await documents.replace(session, source_id, ready)
    return source_id


async def document_ids(sessions: Sessions, source_id: int) -> dict[str, int]:
    """External id -> document id."""
    async with sessions() as session:
        return {name: row.id for name, row in (await documents.documents_of(session, source_id)).items()}


def hit(n: int, text: str, title: str = "Handbook", **changed: object) -> Hit:
    """A passage as search would return it."""
    values: dict[str, object] = {
        "chunk_id": n, "document_id": n, "external_id": f"{n}.md", "title": title, "url": None, "text": text,
        "heading_path": (), "anchor": None, "page": None, "ordinal": 0, "bm25": 1.0, "cosine": 0.8,
        "bm25_rank": n, "vector_rank": n, "score": 1.0 / n,
    }  # fmt: skip
    return Hit(**{**values, **changed})  # type: ignore[arg-type]


class FakeModel:
    """Writes ``text`` in pieces; may wait for ever, raise, or call ``before`` first."""

    name = "fake-1"

    def __init__(
        self,
        text: str = "Run `ferry rollback` [1].",
        *,
        supported: bool = True,
        error: Exception | None = None,
        hangs: bool = False,
        before: Callable[[Brief], object] | None = None,
    ) -> None:
        self.text = text
        self.supported = supported
        self.error = error
        self.hangs = hangs
        self.before = before
        self.asked: list[Brief] = []

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked.append(brief)
        if self.before is not None:
            found = self.before(brief)
            if asyncio.iscoroutine(found):
                await found
        for start in range(0, len(self.text), 7):
            yield self.text[start : start + 7]
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        yield Written(self.text, supported=self.supported, usage=Usage(120, 30, 0.0021))

    async def close(self) -> None:
        """Nothing to close."""
